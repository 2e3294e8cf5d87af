// Package manifests reads a directory of ordinary Kubernetes YAML: the source of
// state for labs, tests, offline renders and hosts without an API server.
//
// Files named *.yaml, *.yml or *.json hold one or more documents each; those that
// begin with a dot are left alone. Writers put a file in place by rename. A
// directory counts as a whole: while one file cannot be read, none of the new
// content is taken and the last good state stays in force.
package manifests
