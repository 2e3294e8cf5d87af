package verdict_test

// clause is something that the API's documentation says, in other words; policies, each a
// namespace and a spec; and what must follow for the cluster of testdata/cluster.yaml.
type clause struct{ says, policies, follows string }

// clauses stand in the order of the documentation: the policy, its selector, its types, rules,
// peers, ports; then what is beyond it.
var clauses = []clause{
	{
		"Without a policy that selects it a pod is not isolated: all is allowed.",
		``,
		`allowed dev/web -> shop/db 5432/TCP
		 allowed shop/db -> 192.0.2.1 443/TCP`,
	},
	{
		"An empty podSelector selects all pods of the policy's namespace, those without labels too, and none of another.",
		`shop {podSelector: {}}`,
		`dropped dev/web -> shop/web 80/TCP
		 dropped dev/web -> shop/bare 80/TCP
		 dropped shop/web -> shop/db 80/TCP
		 allowed shop/web -> dev/web 80/TCP`,
	},
	{
		"A podSelector that is left out is an empty one.",
		`shop {policyTypes: [Ingress]}`,
		`dropped dev/web -> shop/bare 80/TCP`,
	},
	{
		"matchLabels: every label must be there with that value.",
		`shop {podSelector: {matchLabels: {app: web, tier: front}}}
		 dev {podSelector: {matchLabels: {app: web, tier: front}}}`,
		`dropped ops/prom -> shop/web 80/TCP
		 allowed ops/prom -> dev/web 80/TCP
		 allowed ops/prom -> shop/db 80/TCP
		 allowed ops/prom -> shop/bare 80/TCP`,
	},
	{
		"In: the label is there and its value is one of the list.",
		`shop {podSelector: {matchExpressions: [{key: app, operator: In, values: [db, cache]}]}}`,
		`dropped ops/prom -> shop/db 80/TCP
		 allowed ops/prom -> shop/web 80/TCP
		 allowed ops/prom -> shop/bare 80/TCP`,
	},
	{
		"NotIn: the value is none of the list, or the label is not there.",
		`shop {podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db, cache]}]}}`,
		`allowed ops/prom -> shop/db 80/TCP
		 dropped ops/prom -> shop/web 80/TCP
		 dropped ops/prom -> shop/bare 80/TCP`,
	},
	{
		"Exists: the label is there, with whatever value.",
		`shop {podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}`,
		`dropped ops/prom -> shop/web 80/TCP
		 allowed ops/prom -> shop/db 80/TCP
		 allowed ops/prom -> shop/bare 80/TCP`,
	},
	{
		"DoesNotExist: the label is not there.",
		`shop {podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}`,
		`allowed ops/prom -> shop/web 80/TCP
		 dropped ops/prom -> shop/db 80/TCP
		 dropped ops/prom -> shop/bare 80/TCP`,
	},
	{
		"matchLabels and all matchExpressions must hold together.",
		`shop {podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: Exists}, {key: tier, operator: NotIn, values: [back]}]}}`,
		`dropped ops/prom -> shop/web 80/TCP
		 allowed ops/prom -> shop/db 80/TCP`,
	},
	{
		"policyTypes left out: ingress always, so that egress stays free without egress rules.",
		`shop {podSelector: {matchLabels: {app: db}}}`,
		`dropped ops/prom -> shop/db 80/TCP
		 allowed shop/db -> ops/prom 80/TCP`,
	},
	{
		"policyTypes left out: egress too if there is an egress rule; ingress is isolated all the same.",
		`shop {podSelector: {matchLabels: {app: db}}, egress: [{ports: [{port: 80}]}]}`,
		`allowed shop/db -> ops/prom 80/TCP
		 dropped shop/db -> ops/prom 81/TCP
		 dropped ops/prom -> shop/db 80/TCP`,
	},
	{
		"policyTypes left out or empty: an empty list of egress rules is no egress rule.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [], egress: []}`,
		`allowed shop/db -> ops/prom 80/TCP
		 dropped ops/prom -> shop/db 80/TCP`,
	},
	{
		"policyTypes Egress alone: ingress is not isolated; without rules nothing may leave.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}`,
		`allowed ops/prom -> shop/db 80/TCP
		 dropped shop/db -> ops/prom 80/TCP
		 dropped shop/db -> 192.0.2.1 443/TCP`,
	},
	{
		"policyTypes Ingress alone: egress rules say nothing.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], egress: [{ports: [{port: 80}]}]}`,
		`allowed shop/db -> ops/prom 81/TCP
		 dropped ops/prom -> shop/db 80/TCP`,
	},
	{
		"policyTypes with both and no rules: nothing comes, nothing goes.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress]}`,
		`dropped ops/prom -> shop/db 80/TCP
		 dropped shop/db -> ops/prom 80/TCP`,
	},
	{
		"An ingress list that is empty, or left out, allows nothing.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: []}
		 shop {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}`,
		`dropped ops/prom -> shop/db 80/TCP
		 dropped ops/prom -> shop/web 80/TCP`,
	},
	{
		"A rule with nothing in it allows all, from anywhere, on any port and protocol.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{}]}`,
		`allowed ops/prom -> shop/db 80/TCP
		 allowed 192.0.2.1 -> shop/db 99/SCTP
		 allowed 192.0.2.1 -> shop/db 0/ICMP`,
	},
	{
		"from that is empty is as if it were left out: all sources. The same of to.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress], ingress: [{from: [], ports: [{port: 80}]}], egress: [{to: [], ports: [{port: 81}]}]}`,
		`allowed 192.0.2.1 -> shop/db 80/TCP
		 dropped 192.0.2.1 -> shop/db 81/TCP
		 allowed shop/db -> 192.0.2.1 81/TCP
		 dropped shop/db -> 192.0.2.1 80/TCP`,
	},
	{
		"ports that are empty are as if they were left out: all ports, and what has no port.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: []}]}`,
		`allowed shop/web -> shop/db 80/TCP
		 allowed shop/web -> shop/db 81/UDP
		 allowed shop/web -> shop/db 0/ICMP
		 dropped shop/bare -> shop/db 80/TCP`,
	},
	{
		"from and ports must both match; one of the peers and one of the ports will do.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 80}, {port: 443}]}]}`,
		`allowed shop/web -> shop/db 80/TCP
		 allowed shop/web -> shop/db 443/TCP
		 allowed 192.0.2.1 -> shop/db 443/TCP
		 dropped shop/web -> shop/db 81/TCP
		 dropped 198.51.100.1 -> shop/db 80/TCP`,
	},
	{
		"Rules of one policy add up, and do not mix: the peers of one with the ports of another are no rule.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}, {from: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 443}]}]}`,
		`allowed shop/web -> shop/db 80/TCP
		 allowed 192.0.2.1 -> shop/db 443/TCP
		 dropped shop/web -> shop/db 443/TCP
		 dropped 192.0.2.1 -> shop/db 80/TCP`,
	},
	{
		"Policies on one pod add up, in any order, and do not mix.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]}
		 shop {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 443}]}]}
		 shop {podSelector: {matchLabels: {app: db}}}`,
		`allowed shop/web -> shop/db 80/TCP
		 allowed 192.0.2.1 -> shop/db 443/TCP
		 dropped shop/web -> shop/db 443/TCP
		 dropped 192.0.2.1 -> shop/db 80/TCP
		 allowed 192.0.2.1 -> shop/web 443/TCP`,
	},
	{
		"Both ends must allow it: egress of the source and ingress of the destination.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}
		 shop {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}`,
		`allowed shop/web -> shop/db 80/TCP
		 dropped shop/web -> shop/db 81/TCP
		 dropped shop/bare -> shop/db 80/TCP`,
	},
	{
		"podSelector alone in a peer: pods of the policy's own namespace.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`,
		`allowed shop/web -> shop/db 80/TCP
		 dropped dev/web -> shop/db 80/TCP
		 dropped shop/bare -> shop/db 80/TCP`,
	},
	{
		"An empty podSelector in a peer is all pods of the policy's namespace, and no address from outside.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}`,
		`allowed shop/web -> shop/db 80/TCP
		 allowed shop/bare -> shop/db 80/TCP
		 dropped dev/web -> shop/db 80/TCP
		 dropped 192.0.2.1 -> shop/db 80/TCP`,
	},
	{
		"namespaceSelector alone: all pods of the namespaces with those labels.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}`,
		`allowed dev/web -> shop/db 80/TCP
		 dropped ops/prom -> shop/db 80/TCP
		 dropped shop/web -> shop/db 80/TCP`,
	},
	{
		"An empty namespaceSelector: all namespaces, so all pods, and nothing that is no pod.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}]}]}`,
		`allowed dev/web -> shop/db 80/TCP
		 allowed ops/prom -> shop/db 80/TCP
		 allowed shop/bare -> shop/db 80/TCP
		 dropped 192.0.2.1 -> shop/db 80/TCP
		 dropped 10.9.0.2 -> shop/db 80/TCP`,
	},
	{
		"Both selectors in one peer: pods with the one in namespaces with the other.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: prom}}}]}]}`,
		`allowed ops/prom -> shop/db 80/TCP
		 dropped shop/web -> shop/db 80/TCP
		 dropped dev/web -> shop/db 80/TCP`,
	},
	{
		"The selectors in two peers: either will do.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}, {podSelector: {matchLabels: {app: web}}}]}]}`,
		`allowed dev/web -> shop/db 80/TCP
		 allowed shop/web -> shop/db 80/TCP
		 dropped ops/prom -> shop/db 80/TCP
		 dropped shop/bare -> shop/db 80/TCP`,
	},
	{
		"A namespace is selected by its name through the label that each has.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ops}}}]}]}`,
		`allowed ops/prom -> shop/db 80/TCP
		 dropped dev/web -> shop/db 80/TCP`,
	},
	{
		"ipBlock: addresses in the range, of either family.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}, {ipBlock: {cidr: "2001:db8:1::/48"}}]}]}`,
		`allowed 192.0.2.255 -> shop/db 80/TCP
		 dropped 192.0.3.0 -> shop/db 80/TCP
		 allowed 2001:db8:1::1 -> fd00:1::3 80/TCP
		 dropped 2001:db8:2::1 -> fd00:1::3 80/TCP`,
	},
	{
		"ipBlock: except takes addresses out of this range, not out of another.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.64/26, 192.0.2.1/32]}}, {ipBlock: {cidr: 192.0.2.96/32}}, {ipBlock: {cidr: "2001:db8::/32", except: ["2001:db8:1::/48"]}}]}]}`,
		`allowed 192.0.2.2 -> shop/db 80/TCP
		 dropped 192.0.2.1 -> shop/db 80/TCP
		 dropped 192.0.2.64 -> shop/db 80/TCP
		 dropped 192.0.2.127 -> shop/db 80/TCP
		 allowed 192.0.2.96 -> shop/db 80/TCP
		 allowed 192.0.2.128 -> shop/db 80/TCP
		 allowed 2001:db8::1 -> fd00:1::3 80/TCP
		 dropped 2001:db8:1::1 -> fd00:1::3 80/TCP`,
	},
	{
		"ipBlock: 0.0.0.0/0 is every IPv4 address, and no IPv6 one.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}`,
		`allowed shop/db -> 192.0.2.1 443/TCP
		 dropped fd00:1::3 -> 2001:db8::1 443/TCP`,
	},
	{
		"ipBlock: a pod's address is an address like any other.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 10.244.2.0/24, except: [10.244.2.3/32]}}]}]}`,
		`allowed ops/prom -> shop/db 80/TCP
		 dropped dev/web -> shop/db 80/TCP
		 dropped shop/web -> shop/db 80/TCP`,
	},
	{
		"A port without a protocol is TCP's.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 80}]}]}`,
		`allowed shop/web -> shop/db 80/TCP
		 dropped shop/web -> shop/db 80/UDP
		 dropped shop/web -> shop/db 80/SCTP
		 dropped shop/web -> shop/db 0/ICMP`,
	},
	{
		"A protocol without a port: all its ports.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{protocol: UDP}]}]}`,
		`allowed shop/web -> shop/db 1/UDP
		 allowed shop/web -> shop/db 65535/UDP
		 dropped shop/web -> shop/db 1/TCP`,
	},
	{
		"A port entry with nothing in it: all ports of TCP.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{}]}]}`,
		`allowed shop/web -> shop/db 1/TCP
		 dropped shop/web -> shop/db 1/UDP`,
	},
	{
		"UDP and SCTP ports are those protocols' own.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{protocol: UDP, port: 53}, {protocol: SCTP, port: 54}]}]}`,
		`allowed shop/web -> shop/db 53/UDP
		 allowed shop/web -> shop/db 54/SCTP
		 dropped shop/web -> shop/db 54/UDP
		 dropped shop/web -> shop/db 53/TCP`,
	},
	{
		"endPort: from port to endPort, both included.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 1000, endPort: 1999}, {protocol: UDP, port: 65535, endPort: 65535}]}]}`,
		`dropped shop/web -> shop/db 999/TCP
		 allowed shop/web -> shop/db 1000/TCP
		 allowed shop/web -> shop/db 1999/TCP
		 dropped shop/web -> shop/db 2000/TCP
		 dropped shop/web -> shop/db 1000/UDP
		 allowed shop/web -> shop/db 65535/UDP
		 dropped shop/web -> shop/db 65534/UDP`,
	},
	{
		"A port by name, ingress: what the selected pod itself calls so; each pod its own number.",
		`shop {podSelector: {}, ingress: [{ports: [{port: same}]}]}`,
		`allowed dev/web -> shop/web 1001/TCP
		 dropped dev/web -> shop/web 2002/TCP
		 allowed dev/web -> shop/db 2002/TCP
		 dropped dev/web -> shop/db 1001/TCP
		 dropped dev/web -> shop/bare 1001/TCP`,
	},
	{
		"A port by name: the pod's port of that name and that protocol.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{protocol: UDP, port: same}]}]}`,
		`allowed shop/web -> shop/db 3003/UDP
		 dropped shop/web -> shop/db 2002/UDP
		 dropped shop/web -> shop/db 3003/TCP`,
	},
	{
		"A port by name, egress: what the destination calls so; a name that it does not have matches nothing there.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}`,
		`allowed shop/db -> shop/web 8080/TCP
		 dropped shop/db -> shop/web 80/TCP
		 allowed shop/db -> dev/web 80/TCP
		 dropped shop/db -> dev/web 8080/TCP
		 dropped shop/db -> ops/prom 80/TCP
		 dropped shop/db -> 192.0.2.1 80/TCP
		 dropped shop/db -> 10.9.0.2 8080/TCP`,
	},
	{
		"A port by name to an ipBlock: the name of the pod that has the address.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.244.2.0/24}}], ports: [{port: http}]}]}`,
		`allowed shop/db -> dev/web 80/TCP
		 dropped shop/db -> dev/web 81/TCP
		 dropped shop/db -> shop/web 8080/TCP`,
	},
	{
		"A port by name: init containers that go on running count, others do not.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: proxy}, {port: once}]}]}`,
		`allowed shop/web -> shop/db 15001/TCP
		 dropped shop/web -> shop/db 7/TCP`,
	},
	{
		"A pod on the host's network is not selected: it is its node.",
		`shop {podSelector: {}, policyTypes: [Ingress, Egress]}`,
		`allowed dev/web -> 10.9.0.2 80/TCP
		 allowed 10.9.0.2 -> dev/web 80/TCP`,
	},
	{
		"A pod on the host's network is no peer by its labels, but its address may be in an ipBlock.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}]}]}
		 shop {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 10.9.0.2/32}}]}]}`,
		`dropped 10.9.0.2 -> shop/db 80/TCP
		 allowed 10.9.0.2 -> shop/web 80/TCP`,
	},
	{
		"A node always reaches the pods on it, by whichever address of its own, and they it; another node does not.",
		`shop {podSelector: {}, policyTypes: [Ingress, Egress]}`,
		`allowed 10.9.0.1 -> shop/db 80/TCP
		 allowed 10.244.1.1 -> shop/db 80/TCP
		 allowed fd00:1::1 -> fd00:1::3 80/TCP
		 allowed shop/db -> 10.9.0.1 80/TCP
		 dropped 10.9.0.2 -> shop/db 80/TCP
		 dropped 10.244.2.1 -> shop/db 80/TCP
		 dropped shop/db -> 10.9.0.2 80/TCP`,
	},
	{
		"A pod always reaches itself.",
		`shop {podSelector: {}, policyTypes: [Ingress, Egress]}`,
		`allowed shop/db -> shop/db 80/TCP
		 allowed fd00:1::3 -> fd00:1::3 80/TCP
		 dropped shop/db -> shop/web 80/TCP`,
	},
	{
		"A pod that has finished is no peer: its address may be another's by now.",
		`shop {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}], egress: [{to: [{podSelector: {matchLabels: {app: web}}}]}]}`,
		`dropped 10.244.2.9 -> shop/db 80/TCP
		 dropped shop/db -> 10.244.2.9 80/TCP
		 dropped 10.244.2.10 -> shop/db 80/TCP`,
	},
	{
		"The address of a pod that has finished is the other's that has it now.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {env: prod}}}]}]}`,
		`allowed 10.244.2.10 -> shop/db 80/TCP
		 dropped 10.244.2.9 -> shop/db 80/TCP`,
	},
	{
		"A pod that is terminating is selected and a peer as before, as long as its address is its own.",
		`shop {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`,
		`allowed 10.244.2.11 -> shop/web 80/TCP
		 dropped 10.244.2.12 -> shop/web 80/TCP
		 dropped shop/db -> 10.244.2.11 80/TCP
		 allowed shop/db -> 10.244.2.12 80/TCP`,
	},
	{
		"A pod without labels is no peer of a selector that names one, and is of those that want one away.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}]}]}`,
		`allowed shop/bare -> shop/db 80/TCP
		 dropped shop/web -> shop/db 80/TCP`,
	},
	{
		"Of a namespace without an object only the name is known.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lost}}}]}]}
		 shop {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}}]}]}
		 lost {podSelector: {}}`,
		`allowed lost/lone -> shop/db 80/TCP
		 dropped lost/lone -> shop/web 80/TCP
		 dropped shop/web -> lost/lone 80/TCP`,
	},
	{
		"A policy that cannot be understood isolates what it selects, and allows nothing; others go on.",
		`shop {podSelector: {matchLabels: {app: db}}, ingress: [{}, {from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}
		 shop {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`,
		`dropped dev/web -> shop/db 80/TCP
		 allowed shop/web -> shop/db 80/TCP
		 allowed dev/web -> shop/web 80/TCP
		 allowed shop/db -> dev/web 80/TCP`,
	},
	{
		"A policy whose podSelector cannot be understood isolates its whole namespace.",
		`shop {podSelector: {matchExpressions: [{key: app, operator: Like, values: [db]}]}, ingress: [{}]}`,
		`dropped dev/web -> shop/db 80/TCP
		 dropped dev/web -> shop/bare 80/TCP
		 allowed shop/db -> dev/web 80/TCP`,
	},
}
