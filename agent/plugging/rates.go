package plugging

import (
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/ovs/db"
)

// rates are how fast the container may be: what the configuration says, else the runtime,
// else the Pod's annotations, which a runtime that knows the capability has passed itself.
// They speak of the pod network alone.
func (p *Plugger) rates(r request) (conf.Rates, error) {
	if r.conf.NoBandwidth || r.conf.RatesFromRuntime || r.conf.Layer2.Is() || r.lease.PodName == "" {
		return r.conf.Rates, nil
	}
	pod, _, _ := p.node.Pod(r.lease.PodNamespace, r.lease.PodName)
	var byPod conf.Rates
	for _, a := range []struct {
		name, text string
		into       *conf.Rate
	}{{source.AnnotationIngress, pod.AskedIngress, &byPod.Ingress}, {source.AnnotationEgress, pod.AskedEgress, &byPod.Egress}} {
		if a.text == "" {
			continue
		}
		bits, err := source.Bandwidth(a.text)
		if *a.into = conf.NewRate(bits); err == nil {
			err = a.into.Check()
		}
		if err != nil {
			return conf.Rates{}, types.NewError(types.ErrInvalidNetworkConfig,
				fmt.Sprintf("pod %s/%s: annotation %s: %v", pod.Namespace, pod.Name, a.name, err), "")
		}
	}
	return conf.FirstRates(r.conf.Rates, byPod), nil
}

// switchLimit is how fast the switch may send to the container.
func switchLimit(l lease.Lease) *db.Limit {
	return &db.Limit{Rate: l.Rates.Ingress.Bits, Burst: l.Rates.Ingress.Burst}
}

// ownLimit is how fast the container may send.
func ownLimit(l lease.Lease) plug.Limit {
	return plug.Limit{Rate: l.Rates.Egress.Bits, Burst: l.Rates.Egress.Burst}
}

// ratesDiffer holds what limits the attachment against its lease.
func ratesDiffer(ovsdb *db.Client, in *plug.Interface, l lease.Lease) error {
	limit := func(bits uint64) string { return conf.NewRate(bits).String() }
	if _, have := ovsdb.PortSettings(l.Port); have != *switchLimit(l) {
		return differs("what may be sent to "+l.IfName+" (QoS of port "+l.Port+")", limit(l.Rates.Ingress.Bits), limit(have.Rate))
	}
	// In whole bytes a second.
	if want := l.Rates.Egress.Bits / 8 * 8; in.Rate != want {
		return differs("what "+l.IfName+" may send (tbf in the container)", limit(want), limit(in.Rate))
	}
	return nil
}
