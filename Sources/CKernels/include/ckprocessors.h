/* Processors this process may run on (its affinity mask), at least 1. */
#ifndef CKPROCESSORS_H
#define CKPROCESSORS_H
int ck_usable_processors(void);
#endif
