import Glibc
import Platform
import TestSupport
import Tensors
import Testing
import WeightFiles

@testable import Training

/// A process of its own that is killed while it saves, or whose disk is full.
struct CheckpointKillTests {
  /// Beside the test bundle.
  private static let probe: String = {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count - 1)
    let path = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") + "/CheckpointProbe"
  }()

  /// A full disk ends the stream after a whole line.
  @Test func fullDiskTearsNoMetrics() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/metrics.jsonl"
      #expect(wait(try start(["metrics", path, "1000"], output: folder + "/out")) != 0)
      #expect(String(decoding: try InputFile.contents(folder + "/out"), as: UTF8.self) == "io: \(path): \(systemMessage(EFBIG))\n")
      let lines = String(decoding: try InputFile.contents(path), as: UTF8.self)
      #expect(lines.hasSuffix("}\n") && lines.utf8.count > 900)
      for line in lines.split(separator: "\n") { _ = try MetricsRecord(JSON.parse(String(line), source: path), source: path) }
    }
  }

  /// Starts the probe with its standard output in a file.
  private func start(_ arguments: [String], output: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    var words: [UnsafeMutablePointer<CChar>?] = ([Self.probe] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var environment: [UnsafeMutablePointer<CChar>?] = [nil]
    var process = pid_t()
    let code = posix_spawn(&process, Self.probe, &actions, nil, &words, &environment)
    try #require(code == 0, "\(Self.probe): \(systemMessage(code))")
    return process
  }

  private func wait(_ process: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    return status
  }

  /// The number of the save that the file came from, when every value in it says the same.
  private func number(_ path: String) throws -> Int {
    let file = try TrainingCheckpoint(path)
    let budget = MemoryBudget()
    for index in 0..<4 {
      let tensor = try file.tensor("weights.p\(index)", in: budget)
      let values = tensor.floatArray()
      try #require(values == [Float](repeating: Float(file.state.step), count: 256 * 512))
    }
    return file.state.step
  }

  @Test func killedWhileSaving() throws {
    var random = CounterRandom(seed: 20, purpose: "kill")
    try withTemporaryFolder { folder in
      let path = folder + "/c.safetensors"
      var leftovers = 0
      for round in 0..<20 {
        unlink(path)
        let process = try start(["loop", path], output: folder + "/out")
        var waited = 0
        while FileKind.of(path) == .missing, waited < 5000 {
          usleep(1000)
          waited += 1
        }
        usleep(UInt32(random.integer(0...15_000)))
        // Every second process is stopped while a file is half written, the others anywhere.
        let isSaving = round % 2 == 1
        if isSaving {
          let isStopped = try stopWhileSaving(process, folder)
          try #require(isStopped)
        }
        kill(process, SIGKILL)
        #expect(wait(process) & 0x7f == SIGKILL)
        #expect(try number(path) >= 1)
        let left = try folderEntries(folder).count { $0.contains(".tmp-") }
        #expect(!isSaving || left == 1)
        leftovers += left
        try CheckpointFolder(folder, name: "c").removeAbandoned()
        #expect(try folderEntries(folder) == ["c.safetensors", "out"])
      }
      #expect(leftovers >= 10)
    }
  }

  /// Stops the process (it does not run any more, so the file stays) with a temporary file beside the target. False after a minute.
  private func stopWhileSaving(_ process: pid_t, _ folder: String) throws -> Bool {
    for _ in 0..<600_000 {
      kill(process, SIGSTOP)
      var status: Int32 = 0
      while waitpid(process, &status, WUNTRACED) < 0, errno == EINTR {}
      guard status & 0xff == 0x7f else { return false }
      if try folderEntries(folder).contains(where: { $0.contains(".tmp-") }) { return true }
      kill(process, SIGCONT)
      usleep(100)
    }
    return false
  }

  @Test func fullDiskLeavesThePreviousCheckpoint() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/c.safetensors"
      var state = CheckpointState(architecture: .string("probe"))
      state.step = 1
      let budget = MemoryBudget()
      let parameters = try (0..<4).map { try Parameter("p\($0)", Tensor([Float](repeating: 1, count: 256 * 512), [256, 512], in: budget)) }
      try TrainingCheckpoint.save(state, CheckpointTensors(parameters: parameters), to: path)
      // Full in the first write, in the middle, and in the last one.
      let size = try InputFile(path).size
      for limit in [0, 1000, size / 2, size - 1] {
        #expect(wait(try start(["limit", path, String(limit)], output: folder + "/out")) != 0)
        let output = limit == 0 ? "" : String(decoding: try InputFile.contents(folder + "/out"), as: UTF8.self)
        if limit > 200 { #expect(output == "io: \(path): \(systemMessage(EFBIG))\n") }
        #expect(try number(path) == 1)
        #expect(try folderEntries(folder) == ["c.safetensors", "out"])
      }
      #expect(wait(try start(["limit", path, String(size + 1000)], output: folder + "/out")) == 0)
      #expect(try number(path) == 2)
    }
  }
}
