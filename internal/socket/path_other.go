//go:build !linux

package socket

func withShort(path string, use func(short string) error) error {
	if len(path) > maxPath {
		return errTooLong(path)
	}
	return use(path)
}
