package db

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/sluice-cni/sluice/ovs/db/vswitch"
)

// probeInterval is how often the server is asked for a sign of life, and how
// long it has to give it. A server that ends is noticed at once; this is for one
// that hangs.
var probeInterval = 5 * time.Second

// session is one connection and the cache that it fills. When the connection
// ends, the session has ended: the next one has a cache of its own.
//
// libovsdb can reconnect by itself; that is not used. Its Connected stays true
// while the server is away, its Close does not end a reconnection that is being
// tried, and what was deleted meanwhile is never reported. A new cache for each
// connection has none of these faults: it equals the server's content by
// construction.
type session struct {
	client client.Client
	cache  *cache.TableCache
	// lost is closed when the connection has ended.
	lost    chan struct{}
	abandon chan struct{}
}

// dial connects and returns when the cache is filled. changed is called after
// each change of the cache, with the row; it must not block.
func dial(ctx context.Context, endpoint string, changed func(model.Model)) (*session, error) {
	dbModel, err := vswitch.FullDatabaseModel()
	if err != nil {
		return nil, err
	}
	quiet := logr.Discard()
	cl, err := client.NewOVSDBClient(dbModel, client.WithEndpoint(endpoint), client.WithLogger(&quiet))
	if err != nil {
		return nil, err
	}
	s := &session{client: cl, lost: make(chan struct{}), abandon: make(chan struct{})}
	// libovsdb drops the notice of a disconnection if nobody receives at that
	// moment: so somebody does before there is a connection. Were it dropped
	// nevertheless, the next probe fails.
	receiving := make(chan struct{})
	go func() {
		defer close(s.lost)
		close(receiving)
		select {
		case <-cl.DisconnectNotify():
		case <-s.abandon:
		}
	}()
	<-receiving
	if err := cl.Connect(ctx); err != nil {
		close(s.abandon)
		<-s.lost
		return nil, err
	}
	if err := s.monitor(ctx, changed); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// monitor fills the cache and has it kept up to date: all columns of the model,
// by one request, so that the cache is never filled in part.
func (s *session) monitor(ctx context.Context, changed func(model.Model)) error {
	s.cache = s.client.Cache()
	if s.cache == nil {
		return errors.New("the connection ended at once")
	}
	s.cache.AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(_ string, row model.Model) { changed(row) },
		UpdateFunc: func(_ string, _, row model.Model) { changed(row) },
		DeleteFunc: func(_ string, row model.Model) { changed(row) },
	})
	m := s.client.NewMonitor()
	for table, row := range s.cache.DatabaseModel().Types() {
		m.Tables = append(m.Tables, client.TableMonitor{Table: table, Fields: columns(row)})
	}
	// Not monitor_cond_since, libovsdb's default: on its updates an inconsistent
	// cache goes unnoticed, with monitor_cond it ends the session.
	m.Method = ovsdb.ConditionalMonitorRPC
	if _, err := s.client.Monitor(ctx, m); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	return nil
}

// columns returns the columns that a row of the model has. libovsdb's own
// choice is all that the server has, and then it gives up, silently, on every
// update with a column that the model lacks.
func columns(row reflect.Type) []string {
	var names []string
	for _, field := range reflect.VisibleFields(row.Elem()) {
		if name := field.Tag.Get("ovsdb"); name != "" && name != "_uuid" {
			names = append(names, name)
		}
	}
	return names
}

// watch returns when the connection has ended or ctx has, or when the server
// gives no sign of life; the error says which.
func (s *session) watch(ctx context.Context) error {
	probe := time.NewTicker(probeInterval)
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.lost:
			return errors.New("ovsdb-server closed the connection")
		case <-probe.C:
			bounded, cancel := context.WithTimeout(ctx, probeInterval)
			err := s.client.Echo(bounded)
			cancel()
			if err != nil {
				return fmt.Errorf("ovsdb-server did not answer an echo request within %v: %w", probeInterval, err)
			}
		}
	}
}

// close ends the connection and returns when its goroutines have ended.
func (s *session) close() {
	s.client.Close()
	select {
	case <-s.lost:
	case <-time.After(time.Second): // the notice was dropped
		close(s.abandon)
		<-s.lost
	}
}

// The rows of the cache are copies: callers may change them.

func (s *session) root() (*vswitch.OpenvSwitch, bool) {
	for _, row := range s.cache.Table(vswitch.OpenvSwitchTable).Rows() {
		return row.(*vswitch.OpenvSwitch), true
	}
	return nil, false
}

func (s *session) bridge(name string) (*vswitch.Bridge, bool) {
	return byName[*vswitch.Bridge](s, vswitch.BridgeTable, &vswitch.Bridge{Name: name})
}

func (s *session) port(name string) (*vswitch.Port, bool) {
	return byName[*vswitch.Port](s, vswitch.PortTable, &vswitch.Port{Name: name})
}

// byName finds a row by the index of its table, which is the name.
func byName[T model.Model](s *session, table string, like T) (T, bool) {
	_, row, err := s.cache.Table(table).RowByModel(like)
	found, ok := row.(T)
	return found, ok && err == nil
}

// byUUID finds a row that another refers to; it may be missing for the moment
// in which an update is half in the cache.
func byUUID[T model.Model](s *session, table, uuid string) (T, bool) {
	row, ok := s.cache.Table(table).Row(uuid).(T)
	return row, ok
}
