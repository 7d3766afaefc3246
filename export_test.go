package keystore

// InPages makes Copy read pages of so many records, so that a test sees several.
func InPages(n int) *CopyOptions { return &CopyOptions{page: n} }
