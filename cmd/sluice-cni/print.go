package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sluice-cni/sluice/cni/wire"
)

// usage is for somebody who runs it by hand.
func usage(w io.Writer) {
	fmt.Fprintf(w, `Sluice CNI plugin %s (CNI specification %s).
Container runtimes run this, with CNI_COMMAND and other CNI_ variables set and a network
configuration on standard input. It asks sluice-agent, at %s unless the
configuration's "socket" says otherwise. On a command line use cnitool, or sluicectl.
`, version, strings.Join(wire.Versions(), ", "), wire.DefaultSocket)
}

// printVersion answers VERSION (CNI specification, section 5). Runtimes give the
// version they speak on standard input; a person at a terminal does not.
func printVersion(w io.Writer, in *os.File) int {
	id := identity{CNIVersion: wire.LatestVersion}
	if info, err := in.Stat(); err == nil && info.Mode()&os.ModeCharDevice == 0 {
		if config, err := readConfig(in); err == nil {
			id = identify(config)
		}
	}
	return printJSON(w, struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}{id.CNIVersion, wire.Versions()}, 0)
}

// printError prints an error as the specification demands (section 5), on standard
// output, and returns the exit status.
func printError(w io.Writer, cniVersion string, e *wire.Error) int {
	return printJSON(w, struct {
		CNIVersion string `json:"cniVersion"`
		*wire.Error
	}{cniVersion, e}, 1)
}

func printJSON(w io.Writer, v any, status int) int {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "sluice: cannot print the answer: %v\n", err)
		return 1
	}
	return status
}
