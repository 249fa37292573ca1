import Glibc
import Platform
import TestSupport
import Testing

struct FilesTests {
  private func kind(_ body: () throws(MedDINOError) -> Void) -> MedDINOError? {
    do throws(MedDINOError) { try body() } catch { return error }
    return nil
  }

  /// A named pipe would keep its reader waiting for a writer, out of reach of any cancel.
  @Test func pipesAreRefusedAtOnce() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/pipe"
      #expect(mkfifo(path, 0o600) == 0)
      #expect(kind { () throws(MedDINOError) in _ = try InputFile(path) }?.kind == .io)
      #expect(kind { () throws(MedDINOError) in try AtomicFile.write([1], to: path) }?.kind == .io)
      #expect(FileKind.of(path) == .other)
      #expect(kind { () throws(MedDINOError) in try AtomicFile.write([1], to: folder) }?.message.contains("a folder is there") == true)
    }
  }

  @Test func linksAreFollowed() throws {
    try withTemporaryFolder { folder in
      try AtomicFile.write([1], to: folder + "/file")
      #expect(symlink("file", folder + "/link") == 0)
      try AtomicFile.write([2, 3], to: folder + "/link")
      #expect(try InputFile.contents(folder + "/file") == [2, 3])
      #expect(try folderEntries(folder) == ["file", "link"])
      var status = stat()
      #expect(lstat(folder + "/link", &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
    }
  }

  /// 255 bytes are what a name may have; the temporary's is longer than the file's.
  @Test(arguments: [200, 240, 255]) func longNamesAreWritten(length: Int) throws {
    try withTemporaryFolder { folder in
      for letter in ["a", "é"] {
        let name = String(repeating: letter, count: length / letter.utf8.count)
        try AtomicFile.write([7], to: folder + "/" + name)
        #expect(try folderEntries(folder).contains(name))
      }
      #expect(try folderEntries(folder).count == 2)
    }
  }

  @Test func spellingsOfOneFile() throws {
    try withTemporaryFolder { folder in
      try AtomicFile.write([1], to: folder + "/a")
      try AtomicFile.write([1], to: folder + "/b")
      #expect(symlink("a", folder + "/c") == 0)
      try makeFolder(folder + "/sub")
      for (first, second, same) in [
        ("/a", "/a", true), ("/a", "/./a", true), ("/a", "/sub/../a", true), ("/a", "/c", true), ("/a", "/b", false),
        ("/new", "/sub/../new", true), ("/new", "/sub/new", false), ("/new", "/other", false), ("/a", "/new", false),
        ("/none/new", "/none/./new", false),
      ] {
        #expect(isSameFile(folder + first, folder + second) == same, "\(first) \(second)")
        #expect(isSameFile(folder + second, folder + first) == same, "\(second) \(first)")
      }
    }
  }
}
