// Counts the words of the files in the folders that it is given, and prints the most frequent ones.
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 64, BUCKETS = 4096 };

struct word {
    struct word *next;
    unsigned long count;
    char text[];
};

static struct word *buckets[BUCKETS];
static size_t distinct;
static unsigned long total;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void count(const char *text) {
    unsigned hash = 5381;
    for (const char *c = text; *c; c++) hash = hash * 33 + (unsigned char)*c;
    struct word **slot = &buckets[hash % BUCKETS];
    while (*slot && strcmp((*slot)->text, text) != 0) slot = &(*slot)->next;
    if (!*slot) {
        *slot = calloc(1, sizeof **slot + strlen(text) + 1);
        if (!*slot) fail("remember a word");
        strcpy((*slot)->text, text);
        distinct++;
    }
    (*slot)->count++;
    total++;
}

static void read_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    char text[WORD_MAX + 1];
    size_t length = 0;
    int c;
    do {
        c = getc(file);
        if (c != EOF && isalpha(c)) {
            if (length < WORD_MAX) text[length++] = (char)tolower(c);
        } else if (length > 0) {
            text[length] = '\0';
            count(text);
            length = 0;
        }
    } while (c != EOF);
    if (ferror(file)) fail(path);
    fclose(file);
}

static int read_folder(const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir) fail(folder);
    int files = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.') continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        read_file(path);
        files++;
    }
    closedir(dir);
    return files;
}

static int by_count(const void *left, const void *right) {
    const struct word *a = *(struct word *const *)left, *b = *(struct word *const *)right;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return strcmp(a->text, b->text);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER...\n", argv[0]);
        return 2;
    }
    int files = 0;
    for (int i = 1; i < argc; i++) files += read_folder(argv[i]);
    printf("%lu words, %zu different, in %d files\n", total, distinct, files);
    struct word **sorted = malloc((distinct + 1) * sizeof *sorted);
    if (!sorted) fail("sort the words");
    size_t n = 0;
    for (int i = 0; i < BUCKETS; i++)
        for (struct word *word = buckets[i]; word; word = word->next) sorted[n++] = word;
    qsort(sorted, n, sizeof *sorted, by_count);
    const char *wanted = getenv("TOP");
    size_t top = wanted ? strtoul(wanted, NULL, 10) : 5;
    for (size_t i = 0; i < n && i < top; i++) printf("%4lu %s\n", sorted[i]->count, sorted[i]->text);
    return 0;
}
