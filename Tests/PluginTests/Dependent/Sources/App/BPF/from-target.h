#define FROM_TARGET 1
