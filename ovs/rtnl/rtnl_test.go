package rtnl

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestAnInterruptedListIsAskedForAgain(t *testing.T) {
	asked := 0
	list := func() ([]int, error) {
		if asked++; asked < 3 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	}
	if got, err := whole(list); err != nil || len(got) != 2 || asked != 3 {
		t.Errorf("%v, %v after %d times", got, err, asked)
	}
}

func TestAListThatIsNeverWholeIsAnError(t *testing.T) {
	if _, err := whole(func() ([]int, error) { return nil, netlink.ErrDumpInterrupted }); !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Errorf("got %v", err)
	}
}

func TestAnotherErrorIsNotAskedAbout(t *testing.T) {
	asked, wrong := 0, errors.New("wrong")
	if _, err := whole(func() ([]int, error) { asked++; return nil, wrong }); !errors.Is(err, wrong) || asked != 1 {
		t.Errorf("%v after %d times", err, asked)
	}
}
