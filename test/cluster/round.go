package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podTimes are how long after its creation a pod's status was so.
type podTimes struct{ running, ready time.Duration }

// roundBound is how long the pods of one round may take.
const roundBound = 3 * time.Minute

// round creates pods, watches them until all are Ready, and deletes them.
func (t trial) round(ctx context.Context, name string, count int) ([]podTimes, error) {
	ctx, cancel := context.WithTimeout(ctx, roundBound)
	defer cancel()
	pods := t.client.CoreV1().Pods(benchName)
	selector := metav1.ListOptions{LabelSelector: "round=" + name}
	// From a version on: without one the API server waits for etcd to tell of progress,
	// which a 3.4 does not.
	none, err := pods.List(ctx, selector)
	if err != nil {
		return nil, err
	}
	watch, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: selector.LabelSelector, ResourceVersion: none.ResourceVersion})
	if err != nil {
		return nil, err
	}
	defer watch.Stop()
	var mu sync.Mutex
	created := map[string]time.Time{}
	failed := make(chan error, 1)
	go func() {
		err := createAll(ctx, count, func(ctx context.Context, i int) error {
			pod := benchPod(fmt.Sprintf("%s-%d", name, i), name)
			mu.Lock()
			created[pod.Name] = time.Now()
			mu.Unlock()
			_, err := pods.Create(ctx, pod, metav1.CreateOptions{})
			return err
		})
		if err != nil {
			failed <- err
		}
	}()
	times := map[string]*podTimes{}
	for done := 0; done < count; {
		select {
		case err := <-failed:
			return nil, err
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d pods are Ready: %w", done, count, ctx.Err())
		case event, ok := <-watch.ResultChan():
			if !ok {
				return nil, errors.New("the watch of the pods ended")
			}
			pod, isPod := event.Object.(*corev1.Pod)
			if !isPod {
				return nil, fmt.Errorf("watch the pods: %w", apierrors.FromObject(event.Object))
			}
			mu.Lock()
			after := time.Since(created[pod.Name])
			mu.Unlock()
			if times[pod.Name] == nil {
				times[pod.Name] = &podTimes{}
			}
			seen := times[pod.Name]
			if pod.Status.Phase == corev1.PodRunning && seen.running == 0 {
				seen.running = after
			}
			if ready(*pod) && seen.ready == 0 {
				seen.ready = after
				done++
			}
		}
	}
	var out []podTimes
	for _, seen := range times {
		out = append(out, *seen)
	}
	return out, t.clear(ctx, selector)
}

// clear deletes a round's pods, and waits until the nodes have done with them.
func (t trial) clear(ctx context.Context, selector metav1.ListOptions) error {
	pods := t.client.CoreV1().Pods(benchName)
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, selector); err != nil {
		return err
	}
	return await(ctx, "the round's pods to go", roundBound, func(ctx context.Context) error {
		list, err := pods.List(ctx, selector)
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d pods are left", len(list.Items))
		}
		return err
	})
}

// benchPod does nothing; it has no probe, so that it is Ready when it runs.
func benchPod(name, round string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"round": round}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "pause", Image: pauseImage, Command: []string{"/pause"}}},
		},
	}
}

// quantiles are in seconds.
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func newQuantiles(values []float64) quantiles {
	slices.Sort(values)
	at := func(q float64) float64 { return values[int(math.Ceil(q*float64(len(values))))-1] }
	return quantiles{at(0.5), at(0.99)}
}

// printFigures prints the figures as a table, with each one's ratio to the bridge plugin's.
func printFigures(figures []figure) {
	bridge := map[int]figure{}
	for _, f := range figures {
		if f.CNI == "bridge" {
			bridge[f.Pods] = f
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "pods at once\tCNI\tRunning p50 s\tp99\tReady p50 s\tp99\tReady p50 / bridge's")
	for _, f := range figures {
		fmt.Fprintf(w, "%d\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\n", f.Pods, f.CNI, f.Running.P50, f.Running.P99, f.Ready.P50, f.Ready.P99, f.Ready.P50/bridge[f.Pods].Ready.P50)
	}
	_ = w.Flush()
}
