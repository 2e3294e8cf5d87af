package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/flows/state"
)

// Content is what was read: the objects, and the NodeStates by node.
type Content struct {
	source.Objects
	NodeStates map[string]NodeState
}

// NodeState is what is known of a node beside the cluster's objects. `sluicectl
// state` prints it and a render reads it, so that both agree on what only the node
// itself can know. The agent takes none from manifests.
type NodeState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Attachments       []state.Attachment `json:"attachments"`
	Facts             state.Facts        `json:"facts"`
	Config            state.Config       `json:"config"`
}

// APIVersion and Kind of NodeState.
const (
	NodeStateAPIVersion = "sluice.dev/v1alpha1"
	NodeStateKind       = "NodeState"
)

// Read reads files and directories (not their subdirectories). The error joins
// all that is wrong, each with file and line.
func Read(paths ...string) (Content, error) {
	var files []string
	for _, p := range paths {
		info, err := os.Stat(p)
		switch {
		case err != nil:
			return Content{}, err
		case info.IsDir():
			names, err := Names(p)
			if err != nil {
				return Content{}, err
			}
			for _, n := range names {
				files = append(files, filepath.Join(p, n))
			}
		default:
			files = append(files, p)
		}
	}
	r := reader{content: Content{NodeStates: map[string]NodeState{}}, seen: map[string]string{}, unready: map[string]bool{}}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			r.errs = append(r.errs, err)
			continue
		}
		r.file(f, data)
	}
	r.content.EndpointSlices = append(r.content.EndpointSlices, r.endpointSlices()...)
	return r.content, errors.Join(r.errs...)
}

// Names are the files of a directory that count, sorted.
func Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".yaml", ".yml", ".json":
			if !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
				out = append(out, e.Name())
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// reader gathers the objects and the errors of several files.
type reader struct {
	content Content
	// seen says where each object was found.
	seen map[string]string
	errs []error
	// selecting and unready are the Services that select Pods, and the Pods, by
	// namespace/name, that are not ready.
	selecting []selecting
	unready   map[string]bool
}

// file reads the documents of one file.
func (r *reader) file(name string, data []byte) {
	for _, d := range split(data) {
		if err := r.document(name, d); err != nil {
			r.errs = append(r.errs, fmt.Errorf("%s:%w", name, err))
		}
	}
}

// document is a part of a file; line is where it begins, from 1.
type document struct {
	text []byte
	line int
}

// split cuts at lines that begin with "---".
func split(data []byte) []document {
	var out []document
	d := document{line: 1}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if bytes.HasPrefix(line, []byte("---")) {
			out = append(out, d)
			d = document{line: n + 1}
			continue
		}
		d.text = append(d.text, line...)
	}
	return append(out, d)
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// at is an error at its place: "LINE: what is wrong". The YAML reader counts lines
// from the document's first.
func (d document) at(err error) error {
	line := d.line
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n  ")
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		line += n - 1
		text = strings.Replace(text, m[0], "", 1)
	}
	return fmt.Errorf("%d: %s", line, text)
}

func (r *reader) document(file string, d document) error {
	data, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		return d.at(err)
	}
	if string(data) == "null" {
		return nil
	}
	if err := r.object(fmt.Sprintf("%s:%d", file, d.line), data); err != nil {
		return d.at(err)
	}
	return nil
}

// object reads one object from its JSON.
func (r *reader) object(place string, data []byte) error {
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("is no Kubernetes object: %w", err)
	}
	if head.Kind == "" || head.APIVersion == "" {
		return errors.New("is no Kubernetes object: it needs kind and apiVersion")
	}
	if strings.HasSuffix(head.Kind, "List") && head.Items != nil {
		for _, item := range head.Items {
			if err := r.object(place, item); err != nil {
				return err
			}
		}
		return nil
	}
	if head.Metadata.Name == "" {
		return fmt.Errorf("%s has no metadata.name", head.Kind)
	}
	group, _, _ := strings.Cut(head.APIVersion, "/")
	id := strings.Join([]string{group, head.Kind, head.Metadata.Namespace, head.Metadata.Name}, " ")
	if other, ok := r.seen[id]; ok {
		return fmt.Errorf("%s %s is already defined at %s", head.Kind, head.Metadata.Name, other)
	}
	r.seen[id] = place
	if err := r.keep(head.APIVersion, head.Kind, data); err != nil {
		return fmt.Errorf("%s %s: %w", head.Kind, head.Metadata.Name, err)
	}
	return nil
}

// keep takes the kinds that state is made of; the others are none of our business.
func (r *reader) keep(apiVersion, kind string, data []byte) error {
	c := &r.content
	switch apiVersion + " " + kind {
	case "v1 Namespace":
		var ns corev1.Namespace
		if err := json.Unmarshal(data, &ns); err != nil {
			return err
		}
		c.Namespaces = append(c.Namespaces, source.Namespace(&ns))
	case "v1 Node":
		var n corev1.Node
		if err := json.Unmarshal(data, &n); err != nil {
			return err
		}
		node, err := source.Node(&n)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
	case "v1 Pod":
		var p corev1.Pod
		if err := json.Unmarshal(data, &p); err != nil {
			return err
		}
		if p.Namespace == "" {
			p.Namespace = metav1.NamespaceDefault
		}
		return r.pod(&p)
	case "v1 Service":
		var s corev1.Service
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		if s.Namespace == "" {
			s.Namespace = metav1.NamespaceDefault
		}
		return r.service(&s)
	case "discovery.k8s.io/v1 EndpointSlice":
		var s discoveryv1.EndpointSlice
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		if s.Namespace == "" {
			s.Namespace = metav1.NamespaceDefault
		}
		slice, ok, err := source.EndpointSlice(&s)
		if err != nil || !ok {
			return err
		}
		c.EndpointSlices = append(c.EndpointSlices, slice)
	case "networking.k8s.io/v1 NetworkPolicy":
		p, err := networkPolicy(data)
		if err != nil {
			return err
		}
		c.NetworkPolicies = append(c.NetworkPolicies, p)
	case NodeStateAPIVersion + " " + NodeStateKind:
		var n NodeState
		if err := json.Unmarshal(data, &n); err != nil {
			return err
		}
		c.NodeStates[n.Name] = n
	}
	return nil
}

// networkPolicy reads a NetworkPolicy. A field that is not known may be what narrows it:
// that is a fault of the policy.
func networkPolicy(data []byte) (state.NetworkPolicy, error) {
	var p networkingv1.NetworkPolicy
	if err := json.Unmarshal(data, &p); err != nil {
		return state.NetworkPolicy{}, err
	}
	if p.Namespace == "" {
		p.Namespace = metav1.NamespaceDefault
	}
	var raw struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return state.NetworkPolicy{}, err
	}
	if len(raw.Spec) == 0 {
		return source.NetworkPolicy(&p, "spec: is missing"), nil
	}
	strict := json.NewDecoder(bytes.NewReader(raw.Spec))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(networkingv1.NetworkPolicySpec)); err != nil {
		return source.NetworkPolicy(&p, "spec: "+strings.TrimPrefix(err.Error(), "json: ")), nil
	}
	return source.NetworkPolicy(&p), nil
}

// State is the input of a node's render: its NodeState if there is one, else what
// the objects say of it.
func (c Content) State(node string) state.State {
	s := c.Within(state.State{Node: node})
	if n, ok := c.NodeStates[node]; ok {
		s.Attachments, s.Facts, s.Config = n.Attachments, n.Facts, n.Config
	}
	return s
}
