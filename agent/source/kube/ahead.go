package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// ahead is a Pod that was asked for before the watch has shown it. The watch is what
// is believed as soon as it says anything about a Pod of that name.
type ahead struct {
	pod *corev1.Pod
	// until is when it is forgotten nevertheless: the Pod may be gone again, and the
	// watch may have had nothing to say about it.
	until time.Time
}

// aheadBound is longer than a watch is ever behind.
const aheadBound = time.Minute

// Know implements source.Knower: kubelet hears of a Pod by a watch of its own, and may
// plug it in before ours has shown it.
func (c *Cluster) Know(ctx context.Context, namespace, name, uid string) error {
	key := cache.NewObjectName(namespace, name).String()
	if c.watched(key, uid) {
		return nil
	}
	pod, err := c.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsForbidden(err) {
		poke(c.refused)
	}
	if err != nil {
		return fmt.Errorf("ask for pod %s: %w", key, err)
	}
	if _, err := slim(pod); err != nil {
		return err
	}
	c.mu.Lock()
	c.ahead[key] = ahead{pod, time.Now().Add(aheadBound)}
	c.mu.Unlock()
	if c.watched(key, uid) { // it was shown in between, and its event may have come before
		c.mu.Lock()
		delete(c.ahead, key)
		c.mu.Unlock()
	}
	c.notify()
	return nil
}

// watched tells whether the watch has shown this Pod, and not just one of the same name
// that it replaces. If so the next snapshot has it: its event may be on its way yet.
func (c *Cluster) watched(key, uid string) bool {
	obj, exists, err := c.informers["pods"].GetStore().GetByKey(key)
	if err != nil || !exists {
		return false
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok || uid != "" && pod.UID != types.UID(uid) {
		return false
	}
	c.reading.Lock()
	listed, ok := c.lists.pods.get(key)
	c.reading.Unlock()
	if !ok || listed.UID != string(pod.UID) {
		c.mark("pods", key)
	}
	return true
}

// podsByKey are Pods by namespace/name.
type podsByKey map[string]*corev1.Pod

// GetByKey implements cache.KeyGetter.
func (p podsByKey) GetByKey(key string) (any, bool, error) {
	pod, ok := p[key]
	return pod, ok, nil
}

// stillAhead are the Pods that the watch has not shown yet.
func (c *Cluster) stillAhead() podsByKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := podsByKey{}
	for key, a := range c.ahead {
		if time.Now().After(a.until) {
			delete(c.ahead, key)
			continue
		}
		out[key] = a.pod
	}
	return out
}
