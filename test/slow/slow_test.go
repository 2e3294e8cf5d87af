package slow

import "testing"

func TestAMachineIsAsSlowAsItsLoadMakesIt(t *testing.T) {
	for _, c := range []struct {
		loadavg    string
		processors int
		want       float64
	}{
		{"0.31 2.00 9.00 1/900 77\n", 2, 1},
		{"2.00 0.10 0.10 1/900 77\n", 2, 1},
		{"7.00 0.10 0.10 1/900 77\n", 2, 3.5},
		{"7.00 0.10 0.10 1/900 77\n", 16, 1},
		{"900.00 0.10 0.10 1/900 77\n", 2, most},
		{"", 2, 1},
	} {
		if got := busy(c.loadavg, c.processors); got != c.want {
			t.Errorf("load %q on %d processors: %v times slower, want %v", c.loadavg, c.processors, got, c.want)
		}
	}
}
