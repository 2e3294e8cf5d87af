package flows

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
)

// OwnerKind says what kind of object a flow serves.
type OwnerKind uint8

// The kinds. Numbers are part of what operators see in dumps: never reuse one.
const (
	// OwnerPipeline owns what is the same on every node.
	OwnerPipeline OwnerKind = 1
	// OwnerGateway owns what this node itself needs: its gateway port and addresses.
	OwnerGateway OwnerKind = 2
	// OwnerNode owns what another node needs.
	OwnerNode OwnerKind = 3
	// OwnerPod owns what an attachment of this node needs.
	OwnerPod OwnerKind = 4
	// OwnerPolicy owns what a NetworkPolicy that selects a pod of this node needs. Its rules are
	// those of the policy: see PolicyRule.
	OwnerPolicy OwnerKind = 5
	// OwnerIdentity owns what says which labels an address stands for.
	OwnerIdentity OwnerKind = 6
	// OwnerService owns what a Service needs: its virtual addresses' flows, its groups.
	OwnerService OwnerKind = 7
	// OwnerLearned owns what the switch itself learned (ovs-actions(7), learn): nobody
	// renders it, and nobody takes it for drift.
	OwnerLearned OwnerKind = 15
)

// Learned tells whether the switch has made the flow by itself.
func (f Flow) Learned() bool { return f.Table == Affinity && f.Cookie.Kind() == OwnerLearned }

func (k OwnerKind) String() string {
	switch k {
	case OwnerPipeline:
		return "pipeline"
	case OwnerGateway:
		return "gateway"
	case OwnerNode:
		return "node"
	case OwnerPod:
		return "pod"
	case OwnerPolicy:
		return "policy"
	case OwnerIdentity:
		return "identity"
	case OwnerService:
		return "service"
	case OwnerLearned:
		return "learned"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Owner is the object that a flow serves. Name is unique among its kind: a node's
// name, a pod's namespace/name, a container's network/id/interface.
type Owner struct {
	Kind OwnerKind
	Name string
}

func (o Owner) String() string {
	if o.Name == "" {
		return o.Kind.String()
	}
	return o.Kind.String() + " " + o.Name
}

// CompareOwners is the order of owners: by kind, then name.
func CompareOwners(a, b Owner) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
}

// number is derived from the owner's name alone, so that every render of the same
// object agrees, whatever else there is: the first 40 bits of SHA-256.
func (o Owner) number() uint64 {
	if o.Name == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(o.Kind.String() + "/" + o.Name))
	return binary.BigEndian.Uint64(sum[:8]) >> 24
}

// Cookie leads from a flow in a dump to the object that caused it.
//
//	 63      56 55                                  16 15           0
//	+----------+--------------------------------------+--------------+
//	|   kind   |         number of the owner          |     rule     |
//	+----------+--------------------------------------+--------------+
type Cookie uint64

// Cookie of this owner's flow for a rule.
func (o Owner) Cookie(rule Rule) Cookie {
	return Cookie(uint64(o.Kind)<<56 | o.number()<<16 | uint64(rule))
}

// Kind is the owner's kind.
func (c Cookie) Kind() OwnerKind { return OwnerKind(c >> 56) }

// Rule says which of the owner's flows it is.
func (c Cookie) Rule() Rule { return Rule(c & 0xffff) }

// OwnerMask are the bits that [Cookie.Owner] leaves.
const OwnerMask Cookie = ^Cookie(0xffff)

// Owner is the cookie without the rule: equal for all flows of one owner.
func (c Cookie) Owner() Cookie { return c &^ 0xffff }

func (c Cookie) String() string { return fmt.Sprintf("0x%x", uint64(c)) }

// Rule says what a flow does for its owner. Numbers are never reused.
type Rule uint16

// The rules.
const (
	RuleMiss Rule = iota
	RuleEnter
	RuleSpeaks
	RuleSpeaksARP
	RuleSpoofed
	RuleSpoofedARP
	RuleForeignTunnel
	RuleRouterARP
	RuleDeliver
	RuleRoute
	RuleNobody
	RuleGroupAddress
	RuleNotHere
	RuleLeave
	RuleSend
	RuleTunnelPort
	RuleRedirect
	RuleForeignNA
	RuleSpeaksNA
	RuleSpeaksNS
	RuleRouterND
	RuleOtherND
	RuleLinkLocal
	RuleDHCPOffer
	RuleEgressIsolated
	RuleIngressIsolated
	RuleDispatch
	RuleVerdict
	RuleItself
	RuleOwnNode
	RuleAddress
	RuleIdentity
	RuleTrack
	RuleInvalid
	RuleKnown
	RuleNew
	RuleError
	RuleForeignError
	RuleCommit
	RuleServe
	RuleRefuse
	RuleServed
	RuleRemembered
	RuleAnswer
	RuleRefusal
	RuleHairpin
	RuleHostPort
	RuleAffinity
	RuleStay
	RuleLearned
	RuleCalls
	RuleCrowd
)

// PolicyRule is the rule of an OwnerPolicy's cookie: spec.ingress[index] or
// spec.egress[index].
func PolicyRule(egress bool, index int) Rule {
	if egress {
		return Rule(index)&^egressRule | egressRule
	}
	return Rule(index) &^ egressRule
}

// Words say what the flow does for its owner: of a policy's, which rule it is.
func (c Cookie) Words() string {
	if c.Kind() != OwnerPolicy {
		return c.Rule().String()
	}
	if c.Rule()&egressRule != 0 {
		return fmt.Sprintf("allowed by spec.egress[%d]", c.Rule()&^egressRule)
	}
	return fmt.Sprintf("allowed by spec.ingress[%d]", c.Rule())
}

// egressRule is the bit of a policy's rule for egress.
const egressRule Rule = 0x8000

// MaxPolicyRules is how many rules of a direction a policy can have: each has a number of its own.
const MaxPolicyRules = int(egressRule)

var ruleWords = map[Rule]string{
	RuleMiss:          "nothing else matched",
	RuleEnter:         "enters by its port",
	RuleSpeaks:        "speaks with its own address",
	RuleSpeaksARP:     "asks with its own address",
	RuleSpoofed:       "dropped: speaks with an address that is not its own",
	RuleSpoofedARP:    "dropped: ARP with an address that is not its own",
	RuleForeignTunnel: "dropped: tunnel packet from no known node, or for a source that is not that node's",
	RuleRouterARP:     "the virtual router answers",
	RuleDeliver:       "is here",
	RuleRoute:         "is there, by tunnel",
	RuleNobody:        "dropped: nobody has this address",
	RuleGroupAddress:  "dropped: multicast and broadcast go nowhere",
	RuleNotHere:       "dropped: came by tunnel for somebody who is not here",
	RuleLeave:         "leaves the cluster through the host",
	RuleSend:          "is sent",
	RuleTunnelPort:    "dropped: a pod may not send to a node's tunnel port",
	RuleRedirect:      "dropped: a pod is no router: no redirects, no router advertisements",
	RuleForeignNA:     "dropped: a neighbour advertisement for an address that is not the pod's",
	RuleSpeaksNA:      "advertises its own address",

	RuleEgressIsolated:  "dropped: no policy's rule allows what the pod sends",
	RuleIngressIsolated: "dropped: no policy's rule allows what is sent to the pod",
	RuleDispatch:        "asks the policies that select the pod",
	RuleCalls:           "calls the policies that select the pod, one after another",
	RuleCrowd:           "calls none: more policies select the pod than a packet can be judged by",
	RuleVerdict:         "acts on what the policies say",
	RuleItself:          "allowed: a pod always reaches itself",
	RuleOwnNode:         "allowed: a pod and its own node always reach each other",
	RuleAddress:         "has these labels",
	RuleIdentity:        "is of this identity",

	RuleTrack:        "its connection is looked up",
	RuleInvalid:      "dropped: conntrack finds it invalid",
	RuleKnown:        "is of a known connection",
	RuleNew:          "opens a connection",
	RuleError:        "an ICMP error about a connection to the pod",
	RuleForeignError: "dropped: an ICMP error of a pod about a connection that is not to it",
	RuleCommit:       "its connection is remembered",
	RuleServe:        "is given to a backend",
	RuleRefuse:       "refused: nobody serves this virtual address and port",
	RuleServed:       "goes to the backend that it was given to",
	RuleRemembered:   "is remembered already, by the Service",
	RuleAnswer:       "answers what had its source translated",
	RuleRefusal:      "tells that nobody serves",
	RuleHairpin:      "goes back by the port that it came from, with its source translated",
	RuleHostPort:     "leads from a port of its node to the pod",
	RuleAffinity:     "goes to the backend that the client has, or is given one",
	RuleStay:         "goes to this backend, and the client's next connections do",
	RuleLearned:      "the client has this backend",
	RuleSpeaksNS:     "asks for a neighbour in its own name",
	RuleRouterND:     "asks for the virtual router: the agent answers",
	RuleOtherND:      "dropped: asks for a neighbour that is not the virtual router",
	RuleLinkLocal:    "dropped: what is for the link alone goes nowhere",
	RuleDHCPOffer:    "dropped: a pod gives out no addresses by DHCP",
}

// String says in words what the flow does.
func (r Rule) String() string {
	if w, ok := ruleWords[r]; ok {
		return w
	}
	return fmt.Sprintf("rule %d", uint16(r))
}
