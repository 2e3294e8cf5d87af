package openflow_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cni/sluice/flows"
	"github.com/sluice-cni/sluice/ovs/openflow"
)

func groups(t testing.TB, c *openflow.Conn) []openflow.GroupEntry {
	t.Helper()
	list, err := c.DumpGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func bucket(id uint32, weight uint16, actions ...flows.Action) flows.Bucket {
	return flows.Bucket{ID: id, Weight: weight, Actions: actions}
}

func TestGroupsComeBackAsTheyWentAndPrintAlike(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	for _, g := range []flows.Group{
		{ID: 1},
		{ID: 2, Buckets: []flows.Bucket{bucket(1, 100, flows.OutputTo{Port: 4})}},
		{ID: 3, Method: "dp_hash", Buckets: []flows.Bucket{
			bucket(1, 25, flows.Set(flows.Reg1, flows.Uint(7)), flows.Resubmit{Table: 9}),
			bucket(7, 2, flows.SetBits(flows.Reg0, 2, 2), flows.Resubmit{Table: 9}),
			bucket(9, 0, flows.OutputTo{Port: flows.PortInPort}),
		}},
		{ID: 0xffffff00, Method: "hash", Fields: []flows.Field{flows.IPv4Src}, Buckets: []flows.Bucket{bucket(0, 1)}},
		{ID: 5, Method: "hash", Fields: []flows.Field{flows.IPv4Src, flows.IPv4Dst}, Buckets: []flows.Bucket{bucket(0, 1), bucket(1, 1)}},
		{ID: 6, Type: flows.GroupAll, Buckets: []flows.Bucket{bucket(0, 0, flows.OutputTo{Port: 1}), bucket(1, 0, flows.OutputTo{Port: 2})}},
		{ID: 7, Type: flows.GroupIndirect, Buckets: []flows.Bucket{bucket(0, 0, flows.OutputTo{Port: 1})}},
		{ID: 8, Type: flows.GroupFastFailover, Buckets: []flows.Bucket{
			{ID: 1, WatchPort: 1, Actions: []flows.Action{flows.OutputTo{Port: 1}}},
			{ID: 2, WatchGroup: 8, WatchPort: flows.PortLocal, Actions: []flows.Action{flows.OutputTo{Port: 2}}},
		}},
		{ID: 9, Method: "hash", Param: 7, Fields: []flows.Field{flows.IPv4Src, flows.TCPSrc}, Buckets: []flows.Bucket{bucket(3, 1, flows.OutputTo{Port: 1})}},
		flows.Group{ID: 10, Method: "hash", Buckets: []flows.Bucket{bucket(3, 5, flows.CT{Commit: true, Zone: 3, Exec: []flows.Action{
			flows.NAT{Kind: flows.NATDestination, Min: netip.MustParseAddr("10.1.2.3"), PortMin: 80}, flows.Set(flows.CTMark, flows.Uint(5)),
		}})}}.Hash(flows.EthSrc, flows.EthSrc.Ones()).Hash(flows.IPv4Src, flows.Uint(0xffff0000)),
	} {
		t.Run(g.String(), func(t *testing.T) {
			apply(t, c, openflow.Change{PutGroups: []flows.Group{g}})
			got := groups(t, c)
			if len(got) != 1 || got[0].Strange != "" || !got[0].Group.Equal(g) {
				t.Errorf("got %+v", got)
			}
			text := ovs.Ofctl("--no-names", "dump-groups", "br0")
			if diff := cmp.Diff(g.String(), strings.TrimSpace(text[strings.Index(text, "\n")+1:])); diff != "" && g.Buckets != nil && g.Buckets[0].Actions != nil {
				t.Errorf("ovs-ofctl prints otherwise (-ours +its):\n%s", diff)
			}
			if again, err := flows.ParseGroup(g.String()); err != nil || !again.Equal(g) {
				t.Errorf("read as %v: %v", again, err)
			}
			apply(t, c, openflow.Change{RemoveGroups: []uint32{g.ID, g.ID}})
			if got := groups(t, c); len(got) != 0 {
				t.Errorf("left %v", got)
			}
		})
	}
}

func TestGroupsAndTheirFlowsChangeInOneBundle(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	old := flows.Group{ID: 1, Buckets: []flows.Bucket{bucket(1, 1, flows.OutputTo{Port: 1})}}
	young := flows.Group{ID: 2, Buckets: []flows.Bucket{bucket(1, 1, flows.OutputTo{Port: 2})}}
	f := drop(3, 3, nil)
	f.Actions = []flows.Action{flows.ToGroup{Group: 1}}
	apply(t, c, openflow.Change{PutGroups: []flows.Group{old}, Add: []flows.Flow{f}})
	equal(t, "the first", dumped(t, c), []flows.Flow{f})

	f.Actions = []flows.Action{flows.ToGroup{Group: 2}}
	apply(t, c, openflow.Change{PutGroups: []flows.Group{young}, Add: []flows.Flow{f}, RemoveGroups: []uint32{1}})
	equal(t, "the second: its flow has survived the first group", dumped(t, c), []flows.Flow{f})

	young.Buckets[0].Weight = 9
	apply(t, c, openflow.Change{PutGroups: []flows.Group{young}})
	equal(t, "a group's change leaves flows alone", dumped(t, c), []flows.Flow{f})
	if got := groups(t, c); len(got) != 1 || !got[0].Group.Equal(young) {
		t.Errorf("got %+v", got)
	}
}

func TestBucketsComeAndGo(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	g := flows.Group{ID: 1, Method: "dp_hash", Buckets: []flows.Bucket{bucket(1, 5, flows.OutputTo{Port: 1}), bucket(2, 6, flows.OutputTo{Port: 2})}}
	more := bucket(7, 3, flows.OutputTo{Port: 7})
	apply(t, c, openflow.Change{
		PutGroups: []flows.Group{g}, RemoveBuckets: []openflow.BucketID{{Group: 1, Bucket: 1}},
		InsertBuckets: []flows.Group{{ID: 1, Buckets: []flows.Bucket{more}}}, Add: routes(1),
	})
	g.Buckets = []flows.Bucket{g.Buckets[1], more}
	if got := groups(t, c); len(got) != 1 || !got[0].Group.Equal(g) {
		t.Errorf("got %+v, want %v", got, g)
	}
	for want, change := range map[string]openflow.Change{
		"OFPGMFC_UNKNOWN_BUCKET": {RemoveBuckets: []openflow.BucketID{{Group: 1, Bucket: 9}}},
		"OFPGMFC_BUCKET_EXISTS":  {InsertBuckets: []flows.Group{{ID: 1, Buckets: []flows.Bucket{more}}}},
		"OFPGMFC_UNKNOWN_GROUP":  {InsertBuckets: []flows.Group{{ID: 2, Buckets: []flows.Bucket{more}}}},
	} {
		var bad *openflow.GroupError
		if err := c.Apply(t.Context(), change); !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
	}
	if got := groups(t, c); len(got) != 1 || !got[0].Group.Equal(g) {
		t.Errorf("got %+v, want %v", got, g)
	}
}

func TestRefusedGroupIsNamedAndNothingChanges(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	big := flows.Group{ID: 4}
	for i := range 2000 {
		big.Buckets = append(big.Buckets, bucket(uint32(i), 1, flows.OutputTo{Port: 1}))
	}
	for _, tc := range []struct {
		group flows.Group
		want  string
	}{
		{flows.Group{ID: 4, Buckets: []flows.Bucket{bucket(1, 1), bucket(1, 1)}}, "OFPGMFC_BAD_BUCKET"},
		{flows.Group{ID: 4, Method: "hash", Fields: []flows.Field{flows.TunMetadata(1)}, Buckets: []flows.Bucket{bucket(1, 1)}}, "tun_metadata1"},
		{flows.Group{ID: 4, Method: strings.Repeat("x", 16)}, "selection method"},
		{big, "longer than 60000 bytes"},
	} {
		err := c.Apply(t.Context(), openflow.Change{PutGroups: []flows.Group{{ID: 3}, tc.group}, Add: routes(2)})
		var bad *openflow.GroupError
		if !errors.As(err, &bad) || !bad.Group.Equal(tc.group) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("want %s: %v", tc.want, err)
		}
		if got := groups(t, c); len(got) != 0 {
			t.Errorf("%v", got)
		}
		equal(t, "flows", dumped(t, c), nil)
	}
}

func TestStrangeGroupsAreDumpedAndCanBeRemoved(t *testing.T) {
	noLeak(t)
	ovs, socket := bridge(t)
	c := dial(t, socket)
	ovs.Ofctl("add-tlv-map", "br0", "{class=0xffff,type=0,len=4}->tun_metadata0")
	for _, text := range []string{
		"type=select,selection_method=hash,fields(tun_metadata0),bucket=output:1",
		"type=select,selection_method=hash,fields(nsh_ttl),bucket=output:1",
	} {
		ovs.Ofctl("add-group", "br0", "group_id=9,"+text)
		got := groups(t, c)
		if len(got) != 1 || got[0].Strange == "" || !got[0].Group.Equal(flows.Group{ID: 9}) {
			t.Errorf("%s: %+v", text, got)
		}
		apply(t, c, openflow.Change{RemoveGroups: []uint32{9}})
	}
	if got := groups(t, c); len(got) != 0 {
		t.Errorf("left %v", got)
	}
}

func TestGroupsAreReadByTheirNumbers(t *testing.T) {
	noLeak(t)
	_, socket := bridge(t)
	c := dial(t, socket)
	var change openflow.Change
	var ids []uint32
	want := map[uint32]flows.Group{}
	for i := range uint32(600) {
		g := flows.Group{ID: 10 + i, Buckets: []flows.Bucket{bucket(i, 100, flows.OutputTo{Port: 4})}}
		change.PutGroups = append(change.PutGroups, g)
		if i%2 == 0 {
			ids, want[g.ID] = append(ids, g.ID), g
		}
	}
	if err := c.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	got, err := c.DumpGroupsOf(t.Context(), append(ids, 5)) // there is no 5
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d groups of %d: %v", len(got), len(want), err)
	}
	for _, e := range got {
		if e.Strange != "" || !e.Group.Equal(want[e.Group.ID]) {
			t.Errorf("got %v, want %v", e.Group, want[e.Group.ID])
		}
	}
	if none, err := c.DumpGroupsOf(t.Context(), nil); err != nil || len(none) > 0 {
		t.Errorf("of no groups: %v, %v", none, err)
	}
}
