package main

import (
	"bytes"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

func TestCoreDNSIsWhereKubeletSendsPods(t *testing.T) {
	var service corev1.Service
	object(t, dnsObjects, "Service", &service)
	var deployment appsv1.Deployment
	object(t, dnsObjects, "Deployment", &deployment)
	var config corev1.ConfigMap
	object(t, dnsObjects, "ConfigMap", &config)
	if service.Spec.ClusterIP != dnsService || !strings.Contains(kubeletConfig, "clusterDNS: ["+dnsService+"]") {
		t.Errorf("the Service is at %s, kubelet's configuration %s", service.Spec.ClusterIP, kubeletConfig)
	}
	if image := deployment.Spec.Template.Spec.Containers[0].Image; image != dnsImage {
		t.Errorf("image %s, not %s", image, dnsImage)
	}
	if !strings.Contains(config.Data["Corefile"], "kubernetes "+clusterDomain+" ") {
		t.Errorf("it does not serve %s: %s", clusterDomain, config.Data["Corefile"])
	}
}

func TestTrialObjectsAreOfTheImageThatNodesHave(t *testing.T) {
	for name, text := range map[string][]byte{"services.yaml": serviceObjects, "policies.yaml": policyObjects} {
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			if bytes.Contains(document, []byte("image:")) && !bytes.Contains(document, []byte(podImage)) {
				t.Errorf("%s: another image than %s: %s", name, podImage, document)
			}
		}
	}
	var deployment appsv1.Deployment
	object(t, serviceObjects, "Deployment", &deployment)
	if have := *deployment.Spec.Replicas; have != backends {
		t.Errorf("%d replicas, not %d", have, backends)
	}
}

func TestPolicyStepsAreNetworkPolicies(t *testing.T) {
	there := map[string]bool{}
	for _, step := range policySteps {
		for _, name := range step.delete {
			switch {
			case name == "--all":
				clear(there)
			case !there[name]:
				t.Errorf("%s: there is no policy %s then", step.name, name)
			}
			delete(there, name)
		}
		if step.apply == "" {
			continue
		}
		var policy networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte(step.apply), &policy); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		there[policy.Name] = true
	}
	if len(there) > 0 {
		t.Errorf("left in the end: %v", there)
	}
}
