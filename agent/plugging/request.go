package plugging

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sluice-cni/sluice/agent/lease"
	"github.com/sluice-cni/sluice/cni/conf"
	"github.com/sluice-cni/sluice/cni/plug"
	"github.com/sluice-cni/sluice/cni/wire"
	"github.com/sluice-cni/sluice/flows/state"
	"github.com/sluice-cni/sluice/ovs/db"
)

// attachment reads and checks a request.
func (p *Plugger) attachment(req *wire.Request) (*conf.Conf, lease.Lease, error) {
	parse := conf.Parse
	if req.Command == wire.Del {
		parse = conf.ParseLoosely // the file may have been edited since the ADD
	}
	c, err := parse(req.Config)
	if err != nil {
		return nil, lease.Lease{}, err
	}
	args, err := conf.ParseArgs(req.Args)
	if err != nil {
		return nil, lease.Lease{}, err
	}
	for _, err := range []error{conf.ValidateContainerID(req.ContainerID), conf.ValidateIfName(req.IfName)} {
		if err != nil {
			return nil, lease.Lease{}, err
		}
	}
	if req.Command == wire.Add {
		if err := conf.ValidateNetNS(req.NetNS); err != nil {
			return nil, lease.Lease{}, err
		}
	}
	return c, lease.Lease{NetNS: req.NetNS, Attachment: state.Attachment{
		Network: c.Name, ContainerID: req.ContainerID, IfName: req.IfName,
		PodNamespace: args.PodNamespace, PodName: args.PodName, PodUID: args.PodUID,
		Port: wire.HostName(c.Name, req.ContainerID, req.IfName),
	}}, nil
}

func tryAgain(format string, args ...any) error {
	return types.NewError(types.ErrTryAgainLater, fmt.Sprintf(format, args...), "")
}

// cniError gives errors that are somebody's fault their code.
func cniError(err error) error {
	var ns *plug.NetNSError
	switch {
	case errors.As(err, &ns):
		return types.NewError(types.ErrInvalidEnvironmentVariables, "CNI_NETNS: "+err.Error(), "")
	case errors.Is(err, db.ErrNotConnected), errors.Is(err, db.ErrUnknownOutcome), errors.Is(err, db.ErrNoBridge):
		return tryAgain("%v", err)
	}
	return types.NewError(types.ErrInternal, err.Error(), "")
}
