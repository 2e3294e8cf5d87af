package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sluice-cni/sluice/ovs/internal/jsonrpc"
	"github.com/sluice-cni/sluice/ovs/netns"
)

// startBound is how long a daemon may take until it serves; a loaded machine
// needs some of it.
const startBound = 30 * time.Second

// tailLines is how much of a log an error carries.
const tailLines = 15

// Start creates the database if there is none, and starts the daemons that do
// not run. When it returns, ovs-vswitchd has taken up the whole configuration.
func (o *OVS) Start(ctx context.Context) error {
	if err := o.CreateDB(ctx); err != nil {
		return err
	}
	if err := o.StartDB(ctx); err != nil {
		return err
	}
	return o.StartVswitchd(ctx)
}

// CreateDB makes an empty database, with the schema that the installed Open
// vSwitch brought. A database that exists is kept as it is.
func (o *OVS) CreateDB(ctx context.Context) error {
	if _, err := os.Stat(o.dbFile()); err == nil {
		return nil
	}
	tool, err := LookPath("ovsdb-tool")
	if err != nil {
		return fmt.Errorf("create OVSDB database: %w", err)
	}
	schema, err := schemaFile()
	if err != nil {
		return fmt.Errorf("create OVSDB database: %w", err)
	}
	cmd := exec.CommandContext(ctx, tool, "create", o.dbFile(), schema)
	cmd.Env = o.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create OVSDB database %s: %w: %s", o.dbFile(), err, out)
	}
	return nil
}

// schemaFile finds the schema of the installed Open vSwitch: ovs-vswitchd wants
// the one of its own version.
func schemaFile() (string, error) {
	dirs := []string{"/usr/share/openvswitch", "/usr/local/share/openvswitch"}
	if dir := os.Getenv("OVS_PKGDATADIR"); dir != "" {
		dirs = []string{dir}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, "vswitch.ovsschema")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("vswitch.ovsschema is not in %v: install Open vSwitch (Debian and Ubuntu: apt-get install openvswitch-switch), or set OVS_PKGDATADIR to where it is", dirs)
}

// StartDB starts ovsdb-server and returns when it serves and the database has
// its one Open_vSwitch row, without which ovs-vswitchd does nothing. It is
// bounded by ctx and by 30 s; the error carries the end of the log, and the daemon
// is ended. One that runs already is left alone.
func (o *OVS) StartDB(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	return o.start(ctx, DB, []string{o.dbFile(), "--remote=punix:" + o.DBSocket(), "--no-chdir"}, func(ctx context.Context) error {
		if err := o.listens(ctx); err != nil {
			return err
		}
		return o.initDB(ctx)
	})
}

// StartVswitchd starts ovs-vswitchd and returns when it has taken up all that
// is in the database: bridges exist, ports have numbers. StartDB must have
// succeeded. Bounds and errors are StartDB's.
func (o *OVS) StartVswitchd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	return o.start(ctx, Vswitchd, []string{o.DBEndpoint(), "--no-chdir"}, o.configured)
}

// start starts the daemon if it does not run, and waits until ready returns. If
// that fails, what was started is ended again.
func (o *OVS) start(ctx context.Context, d Daemon, args []string, ready func(context.Context) error) error {
	ctx, ended := context.WithCancelCause(ctx)
	defer ended(nil)
	giveUp := func() {}
	if !o.Alive(d) {
		cmd, err := o.launch(d, args)
		if err != nil {
			return fmt.Errorf("start %s: %w", d, err)
		}
		reaped := make(chan struct{})
		// This goroutine lasts as long as the daemon does: it reaps it, so that a
		// daemon that ends is no zombie while this process goes on.
		go func() {
			defer close(reaped)
			err := cmd.Wait()
			if err == nil {
				err = errors.New("exit status 0")
			}
			ended(fmt.Errorf("it ended: %w", err))
		}()
		giveUp = func() {
			_ = cmd.Process.Kill() // it has ended already, or ends
			<-reaped
		}
	}
	if err := ready(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		giveUp()
		return fmt.Errorf("start %s: wait until it serves: %w\nits log ends:\n%s", d, err, o.LogTail(d, tailLines))
	}
	return nil
}

func (o *OVS) launch(d Daemon, args []string) (*exec.Cmd, error) {
	path, err := LookPath(string(d))
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(o.outFile(d), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()

	// Not CommandContext: the daemon outlives the call and this process.
	cmd := exec.Command(path, append(args,
		"--pidfile="+o.pidFile(d), "--log-file="+o.LogFile(d), "--unixctl="+o.CtlSocket(d), "-vconsole:off", "-vsyslog:off")...)
	cmd.Env = o.Env()
	cmd.Dir = o.dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// The child is forked from the thread that calls, so it has its namespace.
	if err := netns.Do(o.netns, cmd.Start); err != nil {
		return nil, err
	}
	return cmd, nil
}

// listens returns when ovsdb-server accepts connections.
func (o *OVS) listens(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", o.DBSocket())
		if err == nil {
			return conn.Close()
		}
		// Not there yet, or bound and not listening yet, or of a killed one.
		if ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// The operations of OVSDB below are those of RFC 7047, section 5.2.
type (
	object = map[string]any
	array  = []any
)

// initDB inserts the Open_vSwitch row if it is missing, as `ovs-vsctl init` does.
func (o *OVS) initDB(ctx context.Context) error {
	rows, err := o.transact(ctx, object{"op": "select", "table": "Open_vSwitch", "where": array{}, "columns": array{"_uuid"}})
	if err != nil {
		return fmt.Errorf("read the Open_vSwitch row: %w", err)
	}
	if len(rows[0].Rows) > 0 {
		return nil
	}
	if _, err := o.transact(ctx, object{"op": "insert", "table": "Open_vSwitch", "row": object{}}); err != nil {
		return fmt.Errorf("insert the Open_vSwitch row: %w", err)
	}
	return nil
}

// configured returns when ovs-vswitchd has taken up what is in the database
// now. It asks as ovs-vsctl does: next_cfg is incremented, and ovs-vswitchd
// copies it to cur_cfg when it is done (ovs-vswitchd.conf.db(5)).
func (o *OVS) configured(ctx context.Context) error {
	results, err := o.transact(ctx,
		object{"op": "mutate", "table": "Open_vSwitch", "where": array{}, "mutations": array{array{"next_cfg", "+=", 1}}},
		object{"op": "select", "table": "Open_vSwitch", "where": array{}, "columns": array{"next_cfg"}})
	if err != nil {
		return fmt.Errorf("increment next_cfg: %w", err)
	}
	if len(results[1].Rows) != 1 {
		return fmt.Errorf("the database has %d Open_vSwitch rows, not 1", len(results[1].Rows))
	}
	next := results[1].Rows[0].NextCfg
	// Waits until no row has an older cur_cfg; not until it is equal, as others
	// may have incremented next_cfg once more.
	_, err = o.transact(ctx, object{"op": "wait", "table": "Open_vSwitch", "where": array{array{"cur_cfg", "<", next}},
		"columns": array{"cur_cfg"}, "until": "==", "rows": array{}})
	if err != nil {
		return fmt.Errorf("wait for cur_cfg %d: %w", next, err)
	}
	return nil
}

type result struct {
	Rows []struct {
		NextCfg int64 `json:"next_cfg"`
	} `json:"rows"`
	Error   string `json:"error"`
	Details string `json:"details"`
}

// transact runs one transaction and returns a result for each operation.
func (o *OVS) transact(ctx context.Context, operations ...object) ([]result, error) {
	params := array{"Open_vSwitch"}
	for _, op := range operations {
		params = append(params, op)
	}
	raw, err := jsonrpc.Call(ctx, o.DBSocket(), "transact", params)
	if err != nil {
		return nil, err
	}
	var results []result
	if err := json.Unmarshal(raw, &results); err != nil {
		return nil, fmt.Errorf("unexpected reply %s: %w", raw, err)
	}
	for _, r := range results {
		if r.Error != "" {
			return nil, fmt.Errorf("%s: %s", r.Error, r.Details)
		}
	}
	if len(results) < len(operations) {
		return nil, fmt.Errorf("unexpected reply %s", raw)
	}
	return results, nil
}
