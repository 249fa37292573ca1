import ArgumentParser
import Glibc
import MedDINO
import Platform
import Tensors

/// Several processes that share one run.
struct DistributedOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("mpi: share the run with the processes that mpirun started; under mpirun it is so without.", valueName: "way"))
  var distributed: String?

  /// Runs the work of a command on this rank, then, on the first one and without the others, what `body` gives for it.
  ///
  /// A failure of one rank in `body` ends all of them with one line and its exit code.
  func run(_ body: (any Communicator) throws -> (() throws -> Void)?) throws {
    guard distributed == nil || distributed == "mpi" else {
      throw MedDINOError.invalid("--distributed is \"\(distributed ?? "")\", expected mpi")
    }
    let started = Self.startedProcesses
    guard distributed != nil || started > 1 else {
      let rest = try body(SoloCommunicator())
      try rest?()
      return
    }
    let ranks = try MPIRanks()
    guard ranks.size > 1 || started <= 1 else {
      throw MedDINOError.state(
        "started as one of \(started) processes, but \(ranks.name) sees one: \(MPIRanks.file) was built with another MPI than that of mpirun"
      )
    }
    var rest: (() throws -> Void)?
    do {
      rest = try body(ranks)
      try ranks.finish()
    } catch is StoppedTogether {
      try ranks.finish()
      if ranks.isRoot { throw MedDINOError.cancelled }
      throw ExitCode(130)
    } catch {
      guard ranks.size > 1 else { throw error }
      end(ranks, error)
    }
    if ranks.isRoot { try rest?() }
  }

  /// A failure that all ranks have in common is said once, by the first, which ends the others meanwhile.
  private func end(_ ranks: MPIRanks, _ error: any Error) -> Never {
    let start = monotonicSeconds()
    while !ranks.isRoot, monotonicSeconds() - start < 1 {
      if Interrupt.isRequested { _exit(130) }
      usleep(50_000)
    }
    if let error = error as? MedDINOError {
      note("meddino: rank \(ranks.rank) of \(ranks.size): \(error.kind == .cancelled ? "interrupted" : error.wording)")
      ranks.abort(error.kind.exitCode)
    }
    note("meddino: rank \(ranks.rank) of \(ranks.size): \(error)")
    ranks.abort(error is ValidationError ? 64 : 1)
  }

  /// What launchers say of how many processes they started; 1 without one.
  private static var startedProcesses: Int {
    let names = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"]
    return names.compactMap { getenv($0).flatMap { Int(String(cString: $0)) } }.max() ?? 1
  }
}

/// All ranks have stopped at the same place, as one of them was asked to.
struct StoppedTogether: Error {}

extension CommonOptions {
  /// Threads that are not given are this rank's share of the processors that it may use.
  func context(_ ranks: any Communicator) throws -> Context {
    guard !ranks.isSolo, let processes = ranks as? MPIRanks else { return try context() }
    let log = verbose && ranks.isRoot ? Log(threshold: .info) { level, message in note("\(level): \(message)") } : .silent
    return try Context(
      threads: threads == 0 ? processes.processors : threads, maxBytes: try maxMemory.map { try byteCount($0) }, log: log, ranks: ranks)
  }
}
