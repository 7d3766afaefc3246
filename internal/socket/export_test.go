package socket

import "time"

func init() { grace = time.Minute }
