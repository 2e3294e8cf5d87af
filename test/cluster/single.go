package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// singleName is a pod that is put on a certain node.
const singleName = "single"

// singleBound is how long it may take until it is Ready, or gone.
const singleBound = time.Minute

// ensureNamespace makes the trial's namespace, with the account that pods in it have.
func (t trial) ensureNamespace(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: trialNamespace}}
	if _, err := t.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return await(ctx, "the namespace's account", 20*time.Second, func(ctx context.Context) error {
		_, err := t.client.CoreV1().ServiceAccounts(trialNamespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// createSingle puts the pod on a node, whatever the node's condition.
func (t trial) createSingle(ctx context.Context, node string) error {
	grace := int64(1)
	_, err := t.client.CoreV1().Pods(trialNamespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: singleName},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: &grace,
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:  []corev1.Container{{Name: "pod", Image: podImage}},
		},
	}, metav1.CreateOptions{})
	return err
}

// single puts the pod on a node, and returns when it is Ready.
func (t trial) single(ctx context.Context, node string) error {
	if err := t.createSingle(ctx, node); err != nil {
		return err
	}
	return t.singleReady(ctx)
}

func (t trial) singleReady(ctx context.Context) error {
	return await(ctx, "a pod on a certain node", singleBound, func(ctx context.Context) error {
		pod, err := t.client.CoreV1().Pods(trialNamespace).Get(ctx, singleName, metav1.GetOptions{})
		if err == nil && !ready(*pod) {
			err = fmt.Errorf("it is %s%s", pod.Status.Phase, t.events(ctx, *pod))
		}
		return err
	})
}

func (t trial) deleteSingle(ctx context.Context) error {
	_, err := t.kubectl(ctx, t.cache, nil, "-n", trialNamespace, "delete", "pod", singleName, "--timeout="+singleBound.String())
	return err
}
