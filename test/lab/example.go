package lab

import (
	"fmt"
	"strings"
)

// Example is what a lab of so many nodes holds if nothing is said: two pods on
// each, a1 and b1 on n1, a2 and b2 on n2, and so on, which listen on port 8080.
func Example(nodes int) []Object {
	var text strings.Builder
	for node := 1; node <= nodes; node++ {
		for _, letter := range []string{"a", "b"} {
			fmt.Fprintf(&text, examplePod, letter, node)
		}
	}
	objects, err := ParseObjects("example", []byte(text.String()))
	if err != nil {
		panic(err) // a test holds the text to be right
	}
	return objects
}

const examplePod = `---
apiVersion: v1
kind: Pod
metadata:
  name: %[1]s%[2]d
  labels: {app: %[1]s}
spec:
  nodeName: n%[2]d
  containers:
  - name: server
    image: example.com/server
    ports:
    - {containerPort: 8080, protocol: TCP}
    - {containerPort: 8080, protocol: UDP}
`
