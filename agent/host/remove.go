package host

import (
	"context"
	"fmt"

	"sigs.k8s.io/knftables"
)

// RemoveRules deletes our nftables tables. Where there are none it does nothing.
func RemoveRules(ctx context.Context) error {
	for _, family := range []knftables.Family{knftables.InetFamily, knftables.ARPFamily} {
		nft, err := knftables.New(family, table)
		if err != nil {
			return fmt.Errorf("nftables: %w (install the package nftables)", err)
		}
		tx := nft.NewTransaction()
		// Added first: to delete a table that is not there would be an error.
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		if err := nft.Run(ctx, tx); err != nil {
			return fmt.Errorf("delete nftables table %s %s: %w", family, table, err)
		}
	}
	return nil
}
