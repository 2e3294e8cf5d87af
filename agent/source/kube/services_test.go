package kube_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sluice-cni/sluice/agent/source"
	"github.com/sluice-cni/sluice/agent/source/kube"
)

func service(name, address string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIPs: []string{address}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func endpointSlice(service string, addresses ...string) *discoveryv1.EndpointSlice {
	port := int32(8080)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: service + "-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: service, "app": "x"},
		},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

func TestServicesComeWithTheirBackends(t *testing.T) {
	client := fake.NewClientset(service("web", "10.96.0.1"), service("headless", corev1.ClusterIPNone), service("bad", "10.96"),
		endpointSlice("web", "10.244.1.2", "10.244.1.3"))
	c := watch(t, client)
	s := until(t, c, "all there", func(s source.Snapshot) bool { return s.Synced })
	if o := s.Objects; len(o.Services) != 1 || o.Services[0].Name != "web" || len(o.EndpointSlices) != 1 || len(o.EndpointSlices[0].Endpoints) != 2 {
		t.Errorf("services %v, slices %v", o.Services, o.EndpointSlices)
	}
	if len(s.Errors) != 1 || s.Errors[0] != `service "shop/bad": spec.clusterIPs: "10.96" is no address` {
		t.Errorf("errors %q", s.Errors)
	}
	if _, err := client.DiscoveryV1().EndpointSlices("shop").Update(t.Context(), endpointSlice("web", "10.244.1.3"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	next := until(t, c, "a backend less", func(s source.Snapshot) bool { return len(s.Objects.EndpointSlices[0].Endpoints) == 1 })
	if len(s.Objects.EndpointSlices[0].Endpoints) != 2 || next.Version == s.Version {
		t.Error("the snapshot before has changed with it, or has the same version")
	}
	if &next.Objects.Services[0] != &s.Objects.Services[0] {
		t.Error("the list of Services is another, though none has changed")
	}
	if err := client.CoreV1().Services("shop").Delete(t.Context(), "bad", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, c, "no error", func(s source.Snapshot) bool { return len(s.Errors) == 0 })
}

func TestServicesOfOthersAreNotAskedFor(t *testing.T) {
	client := fake.NewClientset()
	asked := make(chan string, 100)
	for _, resource := range []string{"services", "endpointslices"} {
		client.PrependReactor("list", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
			asked <- a.(clienttesting.ListAction).GetListRestrictions().Labels.String()
			return false, nil, nil
		})
	}
	until(t, watch(t, client), "synced", func(s source.Snapshot) bool { return s.Synced })
	close(asked)
	for got := range asked {
		if want := "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"; got != want {
			t.Errorf("asked for %q, not %q", got, want)
		}
	}
}

// BenchmarkOneBackendChanges with 5,000 Services of 10 backends. The time of the snapshots is told
// apart: most of the rest is the fake API server's.
func BenchmarkOneBackendChanges(b *testing.B) {
	const services, backends = 5000, 10
	client := fake.NewClientset()
	var slices []runtime.Object
	for i := range services {
		name := fmt.Sprintf("s%d", i)
		var addresses []string
		for j := range backends {
			addresses = append(addresses, fmt.Sprintf("10.%d.%d.%d", i/256, i%256, j))
		}
		slices = append(slices, service(name, fmt.Sprintf("10.96.%d.%d", i/256, i%256)), endpointSlice(name, addresses...))
	}
	for _, o := range slices {
		if err := client.Tracker().Add(o); err != nil {
			b.Fatal(err)
		}
	}
	c := kube.New(client, "https://api", slog.New(slog.DiscardHandler))
	go func() { _ = c.Run(b.Context()) }()
	var spent time.Duration
	wait := func(ok func(source.Snapshot) bool) {
		for {
			began := time.Now()
			s := c.Snapshot()
			spent += time.Since(began)
			if ok(s) {
				return
			}
			select {
			case <-c.Changed():
			case <-time.After(time.Minute):
				b.Fatal("not in time")
			}
		}
	}
	wait(func(s source.Snapshot) bool { return s.Synced && len(s.Objects.EndpointSlices) == services })
	slice := endpointSlice("s2500", "10.200.0.1")
	spent = 0
	for n := 0; b.Loop(); n++ {
		slice.Endpoints = slice.Endpoints[:1]
		slice.Endpoints[0].Addresses = []string{fmt.Sprintf("10.200.%d.%d", n/256%256, n%256)}
		if _, err := client.DiscoveryV1().EndpointSlices("shop").Update(b.Context(), slice.DeepCopy(), metav1.UpdateOptions{}); err != nil {
			b.Fatal(err)
		}
		want := slice.Endpoints[0].Addresses[0]
		wait(func(s source.Snapshot) bool {
			for i := range s.Objects.EndpointSlices {
				if e := &s.Objects.EndpointSlices[i]; e.Name == slice.Name {
					return e.Endpoints[0].Address.String() == want
				}
			}
			return false
		})
	}
	b.ReportMetric(float64(spent)/float64(b.N), "snapshot-ns/op")
}
