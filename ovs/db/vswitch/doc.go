// Package vswitch is the typed model of the Open_vSwitch database: a struct for
// each table, a field for each column. All but this file is generated.
//
// vswitch.ovsschema is Open vSwitch's schema cut down to the tables and columns
// that ovs/db reads or writes; everything in it is as it was in the original.
// libovsdb refuses a server that lacks any column of its model, and monitors
// every column of it: so the less is in this file, the more versions of Open
// vSwitch can be talked to, and the less is sent (statistics change every five
// seconds). To use another column, copy it here from the schema that Open
// vSwitch installs, and generate again.
package vswitch

//go:generate go run github.com/ovn-kubernetes/libovsdb/cmd/modelgen -extended -p vswitch -o . vswitch.ovsschema
