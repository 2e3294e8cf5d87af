package kube

import "time"

func init() { rightsAgain = 200 * time.Millisecond }
