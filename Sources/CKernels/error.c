/* This thread's last error text: the only state of the library that does not hang off a context. */
#include "ckernels.h"
#include <string.h>

enum { CAPACITY = 1024 };
static _Thread_local char text[CAPACITY];

void ck_set_last_error(const char *message) {
  if (message == NULL) message = "";
  size_t length = strnlen(message, CAPACITY);
  if (length >= CAPACITY) {
    length = CAPACITY - 1;
    /* message[length] is the first byte cut away: while it continues a character, that character goes as a whole */
    while (length > 0 && ((unsigned char)message[length] & 0xC0) == 0x80) length--;
  }
  memmove(text, message, length); /* the caller may hand back ck_last_error()'s own bytes */
  text[length] = '\0';
}

const char *ck_last_error(void) { return text; }
