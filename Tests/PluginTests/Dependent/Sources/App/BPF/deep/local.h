#define LOCAL_MARK "local one"
