package render

// Priorities within a table: what is more particular is higher. Routes stand at
// routeBase plus their prefix length, so that the longest wins.
const (
	prioMiss      = 0
	prioDefault   = 1
	prioNobody    = 10
	prioDrop      = 50
	prioLinkLocal = 60
	prioCluster   = 60
	prioMatch     = 100
	routeBase     = 100 // .. 228
	prioForeign   = 150
	prioOwn       = 200
	prioNotHere   = 300
	prioRouters   = 300
	prioOwnNA     = 310
	prioHere      = 400
	prioMulticast = 500
)
