package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sluice-cni/sluice/cni/wire"
)

// ipamPatience is how long an IPAM plugin may take: dhcp asks a server.
const ipamPatience = 60 * time.Second

// delegate runs the IPAM plugin that the configuration names (CNI specification,
// section 4): in the runtime's environment, where its files and its CNI_PATH are, not in
// the agent's. Variables are set in place of those of this process. It returns what the
// plugin printed.
func delegate(plugin string, config []byte, variables ...string) (json.RawMessage, *wire.Error) {
	path, err := find(plugin, os.Getenv("CNI_PATH"))
	if err != nil {
		return nil, err
	}
	out, failed := runToEnd(path, config, environment(variables))
	if failed == nil {
		return out, nil
	}
	said := &wire.Error{}
	if json.Unmarshal(out, said) != nil || said.Msg == "" {
		said = &wire.Error{Code: wire.CodeInternal, Msg: failed.Error(), Details: fmt.Sprintf("%.500s", out)}
	}
	said.Msg = fmt.Sprintf("IPAM plugin %s: %s", plugin, said.Msg)
	return nil, said
}

// find looks a plugin up in CNI_PATH. Its name is no path: the agent checks that for
// what it answers, this for what is run before.
func find(plugin, dirs string) (string, *wire.Error) {
	if strings.ContainsRune(plugin, '/') || plugin == "." || plugin == ".." {
		return "", &wire.Error{Code: wire.CodeInvalidNetworkConfig, Msg: fmt.Sprintf("ipam.type: expected the name of an IPAM plugin, found %.100q", plugin)}
	}
	for dir := range strings.SplitSeq(dirs, ":") {
		if info, err := os.Stat(dir + "/" + plugin); err == nil && info.Mode().IsRegular() && dir != "" {
			return dir + "/" + plugin, nil
		}
	}
	return "", &wire.Error{
		Code: wire.CodeInvalidEnvironment, Msg: fmt.Sprintf("CNI_PATH: expected a directory with IPAM plugin %q (ipam.type), found %.300q", plugin, dirs),
		Details: "install the plugin beside sluice, or correct ipam.type",
	}
}

// environment is this process's, with some variables set.
func environment(set []string) []string {
	var env []string
	for _, have := range os.Environ() {
		keep := true
		for _, s := range set {
			name, _, _ := strings.Cut(s, "=")
			keep = keep && !strings.HasPrefix(have, name+"=")
		}
		if keep {
			env = append(env, have)
		}
	}
	return append(env, set...)
}

// runToEnd runs a program to its end: config on its standard input, its standard error
// is ours, its standard output is returned. (Package os/exec would cost every start of
// this executable.)
func runToEnd(path string, config []byte, env []string) ([]byte, error) {
	stdin, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	drain, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), feed.Close())
	}
	p, err := os.StartProcess(path, []string{path}, &os.ProcAttr{Env: env, Files: []*os.File{stdin, stdout, os.Stderr}})
	closed := errors.Join(stdin.Close(), stdout.Close())
	if err != nil || closed != nil {
		return nil, errors.Join(err, closed, feed.Close(), drain.Close())
	}
	defer time.AfterFunc(ipamPatience, func() { _ = p.Kill() }).Stop()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_, _ = feed.Write(config) // what it did not read it did not need
		_ = feed.Close()
	}()
	out, err := io.ReadAll(io.LimitReader(drain, wire.MaxMessage))
	_ = drain.Close()
	state, ended := p.Wait()
	<-fed
	switch {
	case ended != nil:
		return out, ended
	case err != nil:
		return out, err
	case !state.Success():
		return out, fmt.Errorf("%s: %s", path, state)
	}
	return out, nil
}
