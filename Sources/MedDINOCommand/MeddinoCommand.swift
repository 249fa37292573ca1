import ArgumentParser
import Glibc
import MedDINO
import Platform

/// The `meddino` program. Exit codes: 0 done, 1 failed, 2 wrong input (file, argument, format), 3 out of memory, 64 wrong usage,
/// 130 interrupted.
@main
struct MeddinoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "meddino",
    abstract: "Segment CT and MR volumes with MedDINOv3 networks.",
    discussion: """
      Exit codes: 0 done, 1 failed, 2 wrong input (a file, an argument, a format), 3 out of memory, 64 wrong usage, 130 interrupted.
      Progress goes to standard error when it is a terminal; results go to standard output.
      """,
    version: Build.version,
    subcommands: [
      SegmentCommand.self, EnsembleCommand.self, DatasetCommand.self, PlanCommand.self, FinetuneCommand.self, CrossvalCommand.self,
      CurateCommand.self, PretrainCommand.self, ProbeCommand.self, EvaluateCommand.self, PostprocessCommand.self, FeaturesCommand.self,
      InfoCommand.self,
      ConvertCommand.self, InitCommand.self,
      PhantomCommand.self, BenchCommand.self, LogitsCommand.self,
    ])
}

/// Options that every command with work to do has.
struct CommonOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Threads; 0 uses every processor this process may use.", valueName: "n"))
  var threads = 0
  @Option(help: ArgumentHelp("Limit of the buffers, such as 8G or 500M.", valueName: "size"))
  var maxMemory: String?
  @Flag(name: .shortAndLong, help: "Say what is done on standard error.")
  var verbose = false
  @Flag(name: .shortAndLong, help: "No progress and no warnings, and of results only tables and JSON.")
  var quiet = false

  func context() throws -> Context {
    let log = verbose ? Log(threshold: .info) { level, message in note("\(level): \(message)") } : .silent
    return try Context(threads: threads, maxBytes: try maxMemory.map { try byteCount($0) }, log: log)
  }
}

/// "8G", "500M", "1000" in bytes. Throws: `.invalid`.
func byteCount(_ text: String, _ option: String = "--max-memory") throws -> Int {
  guard let bytes = byteSize(text) else { throw MedDINOError.invalid("\(option) is \"\(text)\", expected a size such as 8G") }
  return bytes
}

/// A variable of the environment; nil where it is not set or empty.
func environment(_ name: String) -> String? {
  getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
}

extension ParsableCommand {
  /// Runs the work of a command; a failure becomes one line on standard error and an exit code.
  func perform(_ body: () throws -> Void) throws {
    do {
      try body()
      // What a full disk or a closed pipe swallowed is not done.
      guard fflush(nil) == 0 else { throw MedDINOError.io("standard output: \(systemMessage(errno))") }
    } catch let error as MedDINOError {
      Terminal.finishProgress()
      note(error.kind == .cancelled ? "meddino: interrupted" : "meddino: \(error.wording)")
      throw ExitCode(error.kind.exitCode)
    }
  }
}

extension MedDINOError.Kind {
  /// Of the program.
  var exitCode: Int32 {
    switch self {
    case .cancelled: 130
    case .outOfMemory: 3
    case .invalid, .io, .format, .shape, .unsupported: 2
    case .state, .timeout, .internal: 1
    }
  }
}
