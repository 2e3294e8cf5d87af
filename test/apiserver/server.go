// Package apiserver is an API server for tests and benchmarks that need an agent with a real client, and
// no cluster: it keeps whatever objects it is given, lists and watches them, lets everybody do
// everything, and validates nothing. It speaks plain HTTP, and answers in JSON.
package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// Server is an http.Handler. It is safe for concurrent use.
type Server struct {
	mu sync.Mutex
	// version is the last resourceVersion that was given.
	version int
	// kinds are the objects by their resource's path ("/api/v1/pods").
	kinds map[string]*kind
}

// kind is one resource.
type kind struct {
	// objects are by namespace/name, or by name.
	objects map[string]stored
	// watches are those who are told, by a number of their own.
	watches map[*watch]bool
}

type stored struct {
	version int
	text    json.RawMessage
}

// watch is a client's; its events are lines of JSON.
type watch struct {
	pending bytes.Buffer
	wake    chan struct{}
}

// New makes a server without objects.
func New() *Server { return &Server{kinds: map[string]*kind{}} }

func (s *Server) kind(path string) *kind {
	k, ok := s.kinds[path]
	if !ok {
		k = &kind{objects: map[string]stored{}, watches: map[*watch]bool{}}
		s.kinds[path] = k
	}
	return k
}

// Put adds an object to a resource ("/api/v1/pods"), or takes the place of the one of its name. The
// object need not say of what kind it is.
func (s *Server) Put(resource string, object runtime.Object) error {
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		return err
	}
	object.GetObjectKind().SetGroupVersionKind(kinds[0])
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	var u unstructured.Unstructured
	if err := json.Unmarshal(data, &u.Object); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.put(resource, u)
	return err
}

func (s *Server) put(resource string, u unstructured.Unstructured) (stored, error) {
	s.version++
	u.SetResourceVersion(fmt.Sprint(s.version))
	text, err := json.Marshal(u.Object)
	if err != nil {
		return stored{}, err
	}
	k := s.kind(resource)
	event := "ADDED"
	if _, there := k.objects[key(u)]; there {
		event = "MODIFIED"
	}
	o := stored{s.version, text}
	k.objects[key(u)] = o
	k.tell(event, text)
	return o, nil
}

// Delete takes an object out; namespace is empty for what has none.
func (s *Server) Delete(resource, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kind(resource)
	id := strings.TrimPrefix(namespace+"/"+name, "/")
	if o, there := k.objects[id]; there {
		s.version++
		delete(k.objects, id)
		k.tell("DELETED", o.text)
	}
}

// Objects are a resource's, as JSON.
func (s *Server) Objects(resource string) (out []json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.kind(resource).objects {
		out = append(out, o.text)
	}
	return out
}

func key(u unstructured.Unstructured) string {
	return strings.TrimPrefix(u.GetNamespace()+"/"+u.GetName(), "/")
}

func (k *kind) tell(event string, object []byte) {
	for w := range k.watches {
		w.add(event, object)
	}
}

// add is called under the server's lock.
func (w *watch) add(event string, object []byte) {
	fmt.Fprintf(&w.pending, "{\"type\":%q,\"object\":%s}\n", event, object)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource, namespace, name := split(r.URL.Path)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "selfsubjectaccessreviews"):
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{},"status":{"allowed":true}}`)
	case r.URL.Query().Get("watch") != "":
		s.watch(w, r, resource)
	case r.Method == http.MethodPost, r.Method == http.MethodPatch:
		s.write(w, r, resource, namespace, name)
	case name != "":
		s.get(w, resource, namespace, name)
	default:
		s.list(w, resource)
	}
}

// split reads /api/v1/..., and /apis/GROUP/VERSION/....
func split(path string) (resource, namespace, name string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	head := min(len(parts), 2)
	if parts[0] == "apis" {
		head = min(len(parts), 3)
	}
	rest := parts[head:]
	if len(rest) > 2 && rest[0] == "namespaces" {
		namespace, rest = rest[1], rest[2:]
	}
	if len(rest) > 1 {
		name = rest[1]
	}
	if len(rest) > 0 {
		resource = "/" + strings.Join(append(slices.Clone(parts[:head]), rest[0]), "/")
	}
	return resource, namespace, name
}

func (s *Server) get(w http.ResponseWriter, resource, namespace, name string) {
	s.mu.Lock()
	o, ok := s.kind(resource).objects[strings.TrimPrefix(namespace+"/"+name, "/")]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
		return
	}
	_, _ = w.Write(o.text)
}

func (s *Server) list(w http.ResponseWriter, resource string) {
	s.mu.Lock()
	version := s.version
	var items [][]byte
	for _, o := range s.kind(resource).objects {
		items = append(items, o.text)
	}
	s.mu.Unlock()
	fmt.Fprintf(w, `{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"%d"},"items":[%s]}`, version, bytes.Join(items, []byte(",")))
}

// write is a POST or a merge patch, of a whole object and of its top level.
func (s *Server) write(w http.ResponseWriter, r *http.Request, resource, namespace, name string) {
	data, err := io.ReadAll(r.Body)
	var u unstructured.Unstructured
	if err == nil {
		u.Object, err = decode(data)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := s.kind(resource).objects
	status := http.StatusOK
	if r.Method == http.MethodPost {
		u.SetNamespace(namespace)
		status = http.StatusCreated
		if _, there := objects[key(u)]; there {
			refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists)
			return
		}
	} else {
		var old map[string]any
		if json.Unmarshal(objects[strings.TrimPrefix(namespace+"/"+name, "/")].text, &old) != nil {
			refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
			return
		}
		for field, value := range u.Object {
			old[field] = value
		}
		u.Object = old
	}
	o, err := s.put(resource, u)
	if err != nil {
		refuse(w, http.StatusInternalServerError, metav1.StatusReasonInternalError)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(o.text)
}

// decode reads what a client sends: JSON, or the protocol buffers that it prefers for the API's own kinds.
func decode(data []byte) (fields map[string]any, err error) {
	if !bytes.HasPrefix(data, []byte("{")) {
		object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
		if err != nil {
			return nil, err
		}
		object.GetObjectKind().SetGroupVersionKind(*kind)
		if data, err = json.Marshal(object); err != nil {
			return nil, err
		}
	}
	err = json.Unmarshal(data, &fields)
	return fields, err
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: reason, Code: int32(code), Message: string(reason),
	})
}

// watch tells of what there is, if asked to or if it is newer than what the client knows, and then of all changes.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, resource string) {
	me := &watch{wake: make(chan struct{}, 1)}
	s.mu.Lock()
	k := s.kind(resource)
	initial := r.URL.Query().Get("sendInitialEvents") == "true"
	var since int
	_, _ = fmt.Sscan(r.URL.Query().Get("resourceVersion"), &since) // none is 0
	for _, o := range k.objects {
		if initial || o.version > since {
			me.add("ADDED", o.text)
		}
	}
	if initial {
		me.add("BOOKMARK", fmt.Appendf(nil, `{"kind":"Bookmark","apiVersion":"v1","metadata":{"resourceVersion":"%d","annotations":{%q:"true"}}}`,
			s.version, metav1.InitialEventsAnnotationKey))
	}
	k.watches[me] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(k.watches, me)
		s.mu.Unlock()
	}()
	flush := http.NewResponseController(w)
	if flush.Flush() != nil {
		return
	}
	for {
		s.mu.Lock()
		text := bytes.Clone(me.pending.Bytes())
		me.pending.Reset()
		s.mu.Unlock()
		if _, err := w.Write(text); err != nil || flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-me.wake:
		}
	}
}
