package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/sluice-cni/sluice/agent/source/manifests"
)

// ReadObjects reads Kubernetes YAML or JSON from files, directories (their
// *.yaml, *.yml and *.json, not those of directories in them) and, for "-", from
// stdin. Documents may be lists of objects. An error names the file and line;
// an object given twice is one.
func ReadObjects(paths []string, stdin io.Reader) ([]Object, error) {
	var all []Object
	var errs []error
	add := func(source string, data []byte, err error) {
		var objects []Object
		if err == nil {
			objects, err = ParseObjects(source, data)
		}
		all, errs = append(all, objects...), append(errs, err)
	}
	for _, path := range paths {
		if path == "-" {
			data, err := io.ReadAll(stdin)
			add("stdin", data, err)
			continue
		}
		files, err := manifestFiles(path)
		if err != nil {
			errs = append(errs, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			add(file, data, err)
		}
	}
	seen := map[Key]string{}
	for _, object := range all {
		key := object.Key()
		if first, ok := seen[key]; ok {
			errs = append(errs, fmt.Errorf("%s: %s is already given at %s", object.Source, key, first))
		}
		seen[key] = object.Source
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

// manifestFiles is path itself, or the manifests in it if it is a directory.
func manifestFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		if !entry.IsDir() && manifests.IsManifest(entry.Name()) {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no *.yaml, *.yml or *.json in directory %s", path)
	}
	return files, nil
}

// ParseObjects reads the documents of one file, whose name stands in errors.
func ParseObjects(source string, data []byte) ([]Object, error) {
	var all []Object
	var errs []error
	for _, doc := range splitDocuments(data) {
		objects, err := doc.parse(source)
		all, errs = append(all, objects...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

// document is one document of a YAML stream.
type document struct {
	text []byte
	// before is how many lines of the file come before text.
	before int
}

func splitDocuments(data []byte) []document {
	var docs []document
	doc := document{}
	for number, line := range bytes.SplitAfter(data, []byte("\n")) {
		rest, marker := bytes.CutPrefix(line, []byte("---"))
		if marker && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0]))) {
			docs = append(docs, doc)
			// What stands behind the marker belongs to the document.
			doc = document{before: number}
			line = append([]byte("   "), rest...)
		}
		doc.text = append(doc.text, line...)
	}
	return append(docs, doc)
}

// firstLine is where the document's first line with content is in the file.
func (d document) firstLine() int {
	for i, line := range bytes.Split(d.text, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return d.before + i + 1
		}
	}
	return 0
}

func (d document) parse(source string) ([]Object, error) {
	first := d.firstLine()
	if first == 0 {
		return nil, nil
	}
	at := fmt.Sprintf("%s:%d", source, first)
	var content any
	if err := yaml.UnmarshalStrict(d.text, &content); err != nil {
		return nil, d.syntaxError(source, first, err)
	}
	if content == nil {
		return nil, nil
	}
	fields, ok := content.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: a Kubernetes object is wanted, with apiVersion, kind and metadata", at)
	}
	return flatten(at, fields)
}

// flatten makes objects of a document's fields, one for each item of a list.
func flatten(at string, fields map[string]any) ([]Object, error) {
	kind, _ := fields["kind"].(string)
	items, isList := fields["items"].([]any)
	if !isList || !strings.HasSuffix(kind, "List") {
		object, err := newObject(at, fields)
		if err != nil {
			return nil, err
		}
		return []Object{object}, nil
	}
	var all []Object
	for i, item := range items {
		at := fmt.Sprintf("%s: item %d", at, i+1)
		fields, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: a Kubernetes object is wanted, with apiVersion, kind and metadata", at)
		}
		objects, err := flatten(at, fields)
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
	return all, nil
}

// newObject checks what every object must have, and fills in the namespace
// "default" where one is missing.
func newObject(at string, fields map[string]any) (Object, error) {
	for _, field := range []string{"apiVersion", "kind"} {
		if text, _ := fields[field].(string); text == "" {
			return Object{}, fmt.Errorf("%s: the object has no %s", at, field)
		}
	}
	kind := fields["kind"].(string)
	metadata, _ := fields["metadata"].(map[string]any)
	if name, _ := metadata["name"].(string); name == "" {
		return Object{}, fmt.Errorf("%s: the %s has no metadata.name", at, kind)
	}
	// A field without a value is as good as absent.
	maps.DeleteFunc(fields, func(_ string, value any) bool { return value == nil })
	object := Object{&unstructured.Unstructured{Object: integers(fields).(map[string]any)}, at}
	for _, field := range []string{"labels", "annotations"} {
		if _, _, err := unstructured.NestedStringMap(object.Object, "metadata", field); err != nil {
			return Object{}, fmt.Errorf("%s: %s: metadata.%s must hold strings: %w", at, object.Key(), field, err)
		}
	}
	if _, _, err := unstructured.NestedString(object.Object, "metadata", "namespace"); err != nil {
		return Object{}, fmt.Errorf("%s: %s: metadata.namespace must be a string: %w", at, object.Key(), err)
	}
	namespaced, known := scope(object.Key().groupKind())
	switch {
	case known && namespaced && object.GetNamespace() == "":
		object.SetNamespace("default")
	case known && !namespaced && object.GetNamespace() != "":
		return Object{}, fmt.Errorf("%s: a %s has no namespace: remove metadata.namespace", at, kind)
	}
	return object, checkNames(object)
}

// checkNames holds an object to the names that an API server takes, as names
// become parts of file and namespace names here.
func checkNames(object Object) error {
	key := object.Key()
	var problems []string
	switch key.groupKind() {
	case namespaceKind:
		problems = validation.IsDNS1123Label(key.Name)
	case nodeKind, podKind:
		problems = validation.IsDNS1123Subdomain(key.Name)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s: bad name of %s: %s", object.Source, key, problems[0])
	}
	if key.Namespace != "" {
		if problems := validation.IsDNS1123Label(key.Namespace); len(problems) > 0 {
			return fmt.Errorf("%s: bad namespace of %s: %s", object.Source, key, problems[0])
		}
	}
	return nil
}

// integers makes int64 of whole numbers, which is what unstructured objects hold
// and what is written back without an exponent.
func integers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, item := range value {
			value[key] = integers(item)
		}
	case []any:
		for i, item := range value {
			value[i] = integers(item)
		}
	case float64:
		if whole := int64(value); float64(whole) == value {
			return whole
		}
	}
	return value
}

var lineNumber = regexp.MustCompile(`line (\d+)`)

// syntaxError gives the file's line numbers to an error that counts them from
// the beginning of the document.
func (d document) syntaxError(source string, first int, err error) error {
	line := first
	text := err.Error()
	for _, noise := range []string{"error converting YAML to JSON: ", "yaml: unmarshal errors:", "yaml: "} {
		text = strings.Replace(text, noise, "", 1)
	}
	if match := lineNumber.FindStringSubmatch(text); match != nil {
		number, _ := strconv.Atoi(match[1])
		line = d.before + number
		text = strings.TrimPrefix(strings.TrimSpace(text), match[0]+": ")
	}
	text = lineNumber.ReplaceAllStringFunc(text, func(match string) string {
		number, _ := strconv.Atoi(match[len("line "):])
		return fmt.Sprintf("line %d", d.before+number)
	})
	return fmt.Errorf("%s:%d: not YAML: %s", source, line, strings.TrimSpace(text))
}
