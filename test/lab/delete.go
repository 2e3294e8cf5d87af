package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Delete removes objects and what stands for them: pods are unplugged, nodes are
// stopped, with the pods on them, and a namespace goes with all in it. It returns
// when every agent has the change in force. Objects that are not there are an
// error, after the others have been deleted.
func (l *Lab) Delete(ctx context.Context, keys []Key) error {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	s, err := l.begin(ctx)
	if err != nil {
		return err
	}
	err = s.delete(ctx, keys)
	s.end()
	return errors.Join(err, l.awaitInForce(ctx))
}

func (s *session) delete(ctx context.Context, keys []Key) error {
	var errs []error
	var present []Key
	for _, key := range keys {
		if _, ok := s.cluster.objects[key]; !ok {
			errs = append(errs, fmt.Errorf("%s is not in lab %q", key, s.lab))
			continue
		}
		present = append(present, s.with(key)...)
	}
	var pods, nodes, others []Key
	for _, key := range present {
		switch key.groupKind() {
		case podKind:
			pods = append(pods, key)
		case nodeKind:
			nodes = append(nodes, key)
		default:
			others = append(others, key)
		}
	}
	errs = append(errs, s.deletePods(ctx, distinct(pods)))
	for _, key := range slices.Concat(distinct(nodes), distinct(others)) {
		errs = append(errs, s.erase(key))
		s.out.printf("%s deleted", key)
	}
	for _, key := range distinct(nodes) {
		err := s.host(key.Name).remove(ctx)
		if err == nil {
			s.state.dropNode(key.Name)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, s.save())...)
}

// with is the object and all that goes with it.
func (s *session) with(key Key) []Key {
	keys := []Key{key}
	switch key.groupKind() {
	case namespaceKind:
		keys = append(keys, s.cluster.inNamespace(key.Name)...)
	case nodeKind:
		for _, pod := range s.state.Pods {
			if pod.Node == key.Name {
				keys = append(keys, podKey(pod.Namespace, pod.Name))
			}
		}
	}
	return keys
}

func (s *session) deletePods(ctx context.Context, keys []Key) error {
	err := forAll(keys, func(key Key) error {
		pod := s.state.pod(key.Namespace, key.Name)
		if pod == nil {
			return nil
		}
		return s.host(pod.Node).stopPod(ctx, *pod)
	})
	if err != nil {
		return err // all of them stay, to be deleted again
	}
	for _, key := range keys {
		if err := s.erase(key); err != nil {
			return err
		}
		if pod := s.state.pod(key.Namespace, key.Name); pod != nil {
			s.state.dropPod(*pod)
		}
		s.out.printf("%s deleted", key)
	}
	return nil
}

func distinct(keys []Key) []Key {
	slices.SortFunc(keys, compareKeys)
	return slices.Compact(keys)
}

// Find returns the key of an object as people name it: "pod/web",
// "pod/prod/web", "node/n3", of any kind that the lab has an object of. A plural
// and any case will do.
func (l *Lab) Find(name string) (Key, error) {
	c, err := l.places.loadCluster()
	if err != nil {
		if _, notUp := l.places.loadState(); notUp != nil {
			err = notUp
		}
		return Key{}, err
	}
	parts := strings.Split(name, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return Key{}, fmt.Errorf("%q names no object: write kind/name or kind/namespace/name", name)
	}
	kind := strings.ToLower(parts[0])
	namespace := "default"
	if len(parts) == 3 {
		namespace = parts[1]
	}
	var found []Key
	for key := range c.objects {
		has := strings.ToLower(key.Kind)
		if (has == kind || has+"s" == kind || has+"es" == kind || strings.TrimSuffix(has, "y")+"ies" == kind) &&
			key.Name == parts[len(parts)-1] && (key.Namespace == namespace || key.Namespace == "") {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return Key{}, fmt.Errorf("%s is not in lab %q", name, l.Name())
	case 1:
		return found[0], nil
	}
	return Key{}, fmt.Errorf("%s means objects of %d API groups: delete it by its manifest", name, len(found))
}
