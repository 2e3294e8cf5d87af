package flows

// Walk goes through two sorted lists at once and shows what stands at the same place
// in both; nil where one of them has nothing there.
func Walk[T any](a, b []T, compare func(a, b T) int, show func(a, b *T)) {
	for len(a) > 0 || len(b) > 0 {
		n := -1
		if len(a) == 0 {
			n = 1
		} else if len(b) > 0 {
			n = compare(a[0], b[0])
		}
		var x, y *T
		if n <= 0 {
			x, a = &a[0], a[1:]
		}
		if n >= 0 {
			y, b = &b[0], b[1:]
		}
		show(x, y)
	}
}
