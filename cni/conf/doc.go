// Package conf reads what a runtime hands to a CNI plugin: the network
// configuration on standard input, CNI_ARGS, and the other CNI_ variables (CNI
// specification 1.1.0, sections 1 to 3).
//
// All its errors are *types.Error and are meant for a person who edits a file: they
// name the field, what was expected and what was found. Nothing that somebody asked
// for is ignored in silence: a field that Sluice does not know, or does not build
// yet, is refused. What runtimes add by themselves is accepted.
//
// It does no I/O. Start reading at [Conf], whose comments are the documentation of
// the fields, and at [Parse].
package conf
