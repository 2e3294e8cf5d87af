package source

import (
	"context"

	"github.com/sluice-cni/sluice/flows/claims"
)

// Event is something that whoever made an object should know of it.
type Event struct {
	// About is a Node, a Pod, a Service or a NetworkPolicy; Other, if there is one, has to do with it.
	About, Other claims.Object
	// Reason is one word for programs, Note a sentence for people.
	Reason, Note string
	// Node is whose agent says it.
	Node string
}

// Teller is a Source that can tell events to those who look after the objects.
type Teller interface {
	// Tell tells it. Equal events are one, however often and by whom they are told. An
	// error is worth another try later, and says what must be done first.
	Tell(ctx context.Context, e Event) error
}
