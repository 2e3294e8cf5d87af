package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-cni/sluice/test/lab"
)

// tryFrom lets a pod make attempts, each "protocol:host[:port]"; the results are in their order.
func (t trial) tryFrom(ctx context.Context, namespace, pod string, targets ...string) ([]lab.ProbeResult, error) {
	args := append([]string{"-n", namespace, "exec", pod, "--", "/bin/pod", "try"}, targets...)
	out, err := t.kubectl(ctx, t.cache, nil, args...)
	if err != nil {
		return nil, err
	}
	var results []lab.ProbeResult
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		return nil, err
	}
	if len(results) != len(targets) {
		return nil, fmt.Errorf("%d attempts from %s, and %d results", len(targets), pod, len(results))
	}
	return results, nil
}

// background is a command of /bin/pod in a pod, until it is ended.
type background struct {
	pod    corev1.Pod
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

// inPod returns when the command is under way.
func (t trial) inPod(ctx context.Context, pod corev1.Pod, args ...string) (*background, error) {
	args = append([]string{"--kubeconfig", t.kubeconfig(), "-n", pod.Namespace, "exec", "-i", pod.Name, "--", "/bin/pod"}, args...)
	b := &background{pod: pod, cmd: exec.CommandContext(ctx, t.kubernetes("kubectl"), args...)}
	var err error
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.stdout = bufio.NewReader(stdout)
	var told bytes.Buffer
	b.cmd.Stderr = &told
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := b.stdout.ReadString('\n'); err != nil || line != "begun\n" {
		b.kill()
		return nil, fmt.Errorf("%s in %s on %s did not begin: %s%s", args[len(args)-1], pod.Name, pod.Spec.NodeName, line, &told)
	}
	return b, nil
}

// end ends it, and reads what it tells.
func (b *background) end(into any) error {
	if err := b.stdin.Close(); err != nil {
		return err
	}
	if err := json.NewDecoder(b.stdout).Decode(into); err != nil {
		return fmt.Errorf("in %s on %s: %w", b.pod.Name, b.pod.Spec.NodeName, err)
	}
	return nil
}

// kill leaves nothing of it; it may have been ended.
func (b *background) kill() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}
