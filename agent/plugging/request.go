package plugging

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/cni/wire/server"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// configuration reads the network configuration of a request. That of DEL and GC may
// have been edited since the ADD.
func configuration(req *wire.Request) (*conf.Conf, error) {
	parse := conf.Parse
	if req.Command == wire.Del || req.Command == wire.GC {
		parse = conf.ParseLoosely
	}
	c, err := parse(req.Config)
	if err != nil {
		return nil, err
	}
	return c, c.Allows(req.Command)
}

// request is what ADD, DEL or CHECK is about.
type request struct {
	conf *conf.Conf
	// lease has what names the attachment and whose it is.
	lease lease.Lease
	// ask is what CNI_ARGS asks for.
	ask conf.Ask
}

// attachment reads and checks a request.
func attachment(req *wire.Request) (r request, err error) {
	if r.conf, err = configuration(req); err != nil {
		return request{}, err
	}
	args, err := conf.ParseArgs(req.Args)
	if err != nil && req.Command != wire.Del { // nothing of them is needed to delete
		return request{}, err
	}
	for _, err := range []error{conf.ValidateContainerID(req.ContainerID), conf.ValidateIfName(req.IfName)} {
		if err != nil {
			return request{}, err
		}
	}
	if req.Command != wire.Del {
		if err := conf.ValidateNetNS(req.NetNS); err != nil {
			return request{}, err
		}
	}
	r.ask = args.Ask
	r.lease = lease.Lease{NetNS: req.NetNS, IPAM: r.conf.IPAM, Attachment: state.Attachment{
		Network: r.conf.Name, ContainerID: req.ContainerID, IfName: req.IfName,
		PodNamespace: args.PodNamespace, PodName: args.PodName, PodUID: args.PodUID,
		Port: wire.HostName(r.conf.Name, req.ContainerID, req.IfName), HostPorts: hostPorts(r.conf.PortMappings),
	}}
	return r, nil
}

// inode is the number of what is at the path; 0 if nothing is.
func inode(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

func tryAgain(format string, args ...any) error {
	return types.NewError(types.ErrTryAgainLater, fmt.Sprintf(format, args...), "")
}

// cniError gives errors that are somebody's fault their code.
func cniError(err error) error {
	var ns *plug.NetNSError
	var said *types.Error
	switch {
	case errors.As(err, &said):
		return said
	case errors.As(err, &ns):
		return types.NewError(types.ErrInvalidEnvironmentVariables, "CNI_NETNS: "+err.Error(), "")
	case errors.Is(err, db.ErrNotConnected), errors.Is(err, db.ErrUnknownOutcome), errors.Is(err, db.ErrNoBridge),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, server.ErrHungUp), errors.Is(err, server.ErrStopping):
		return tryAgain("%v", err)
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}
