package socket_test

const servedPath = "KEYSTORE_SOCKET_TEST_PATH"

func serveForever(string) {}
