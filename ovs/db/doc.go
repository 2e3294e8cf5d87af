// Package db is all that is said to OVSDB, Open vSwitch's configuration
// database (RFC 7047): bridges, ports, and the notes that callers keep in them.
//
// What the database holds is known from a cache that the server keeps up to
// date; what callers want is written in transactions, whose results are checked
// one by one. A transaction that has returned is in the cache: its author reads
// what it wrote. There are no callbacks: Client.Changes tells that something is
// different, and whoever listens looks at what is there now.
//
// The package has never heard of Kubernetes, and gives no meaning to
// external_ids. It never retries a transaction: one that was under way when the
// connection broke may have been committed, and only its author knows what
// follows.
//
// Start reading at Open, then Client.AddPort.
package db
