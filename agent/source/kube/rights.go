package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Right is a thing that the agent asks of the API server, in RBAC's words.
type Right struct{ Group, Resource, Verb string }

func (r Right) String() string {
	if r.Group == "" {
		return r.Verb + " " + r.Resource
	}
	return r.Verb + " " + r.Resource + "." + r.Group
}

// Rights are all that the agent needs, in the order of their resources.
var Rights = []Right{
	{"discovery.k8s.io", "endpointslices", "list"},
	{"discovery.k8s.io", "endpointslices", "watch"},
	{"events.k8s.io", "events", "create"},
	{"events.k8s.io", "events", "patch"},
	{"", "namespaces", "list"},
	{"", "namespaces", "watch"},
	{"networking.k8s.io", "networkpolicies", "list"},
	{"networking.k8s.io", "networkpolicies", "watch"},
	{"", "nodes", "list"},
	{"", "nodes", "watch"},
	{"", "pods", "get"},
	{"", "pods", "list"},
	{"", "pods", "watch"},
	{"", "services", "list"},
	{"", "services", "watch"},
}

// rightsAgain is how soon it is asked again for a right that is missing: all nodes' agents
// may lack it at once.
var rightsAgain = 10 * time.Second

const rightsBound = 10 * time.Second

// rightsLoop finds out which rights are missing: at the start, whenever something was
// refused, and again until none is missing. A watch that is refused tells of one right
// at a time, and a right that is needed now and then of none.
func (c *Cluster) rightsLoop(ctx context.Context) {
	doubtful := Rights
	for {
		missing, err := c.review(ctx, doubtful)
		if ctx.Err() != nil {
			return
		}
		// What is refused is asked for again and again: by the clock, while a right is missing.
		refused, again := c.refused, (<-chan time.Time)(nil)
		if err == nil {
			c.lack(missing)
			doubtful = missing
		}
		if err != nil || len(missing) > 0 {
			refused, again = nil, time.After(rightsAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-refused:
			doubtful = Rights
		case <-again:
		}
	}
}

// review asks the API server which of the rights it does not give. Anybody may ask that
// of himself (the ClusterRole system:basic-user).
func (c *Cluster) review(ctx context.Context, rights []Right) (missing []Right, err error) {
	ctx, cancel := context.WithTimeout(ctx, rightsBound)
	defer cancel()
	for _, r := range rights {
		answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{Group: r.Group, Resource: r.Resource, Verb: r.Verb},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("ask for the right to %s: %w", r, err)
		}
		if !answer.Status.Allowed && answer.Status.EvaluationError == "" {
			missing = append(missing, r)
		}
	}
	return missing, nil
}

// lack takes in which rights are missing.
func (c *Cluster) lack(rights []Right) {
	missing := map[string][]Right{}
	for _, r := range rights {
		missing[r.Resource] = append(missing[r.Resource], r)
	}
	c.mu.Lock()
	before := c.missing
	c.missing = missing
	c.mu.Unlock()
	if maps.EqualFunc(before, missing, slices.Equal) {
		return
	}
	for _, resource := range slices.Sorted(maps.Keys(missing)) {
		if !slices.Equal(before[resource], missing[resource]) {
			c.log.Error("a right is missing", "error", lacking(missing[resource]))
		}
	}
	if len(missing) == 0 {
		c.log.Info("no right is missing any more")
	}
	c.notify()
}

func lacking(rights []Right) string {
	var all []string
	for _, r := range rights {
		all = append(all, r.String())
	}
	return fmt.Sprintf("the agent may not %s: give its service account that right (RBAC)", strings.Join(all, ", "))
}
