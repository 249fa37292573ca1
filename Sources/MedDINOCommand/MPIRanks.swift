import CCommunicator
import Glibc
import Platform
import Tensors

/// The processes that mpirun started, by a library that is loaded only now: libmeddino_mpi.so, built against the MPI of this machine.
///
/// Used by one thread. Source: `Sources/CCommunicator/communicator.h`.
final class MPIRanks: Communicator, @unchecked Sendable {
  private let table: meddino_communicator
  let rank: Int
  let size: Int
  /// This rank's share of the processors of its machine.
  let processors: Int
  /// What is behind it: "Open MPI v4.1.4".
  let name: String
  static let file = "libmeddino_mpi.so"
  static let variable = "MEDDINO_MPI_LIBRARY"

  /// Throws: `.state` naming the places where the library was looked for, or what MPI says.
  init() throws(MedDINOError) {
    guard let opened = Self.load() else {
      let reason = dlerror().map { String(cString: $0) } ?? "not found"
      throw .state(
        "\(Self.file) is not at \(Self.places.joined(separator: ", ")) (\(reason)); `make mpi install` builds it where MPI is installed, "
          + "\(Self.variable) names another one")
    }
    guard let symbol = dlsym(opened.handle, MEDDINO_COMMUNICATOR_OPEN) else {
      throw .state("\(opened.path) has no \(MEDDINO_COMMUNICATOR_OPEN), expected the library that `make mpi` builds")
    }
    let open = unsafeBitCast(symbol, to: (@convention(c) (UnsafeMutablePointer<meddino_communicator>?) -> Int32).self)
    var table = meddino_communicator()
    table.version = MEDDINO_COMMUNICATOR_VERSION
    let status = open(&table)
    guard status == 0 else { throw .state("\(opened.path): \(Self.message(table, status))") }
    self.table = table
    (rank, size) = (Int(table.rank), Int(table.size))
    processors = max(1, Int(table.processors))
    name = table.name.map { String(cString: $0) } ?? "MPI"
  }

  // MARK: the library

  /// Beside this program as `make install` puts it, then wherever the loader looks.
  private static var places: [String] {
    if let named = getenv(variable) { return [String(cString: named)] }
    var path = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
    guard readlink("/proc/self/exe", &path, Int(PATH_MAX)) > 0 else { return [file] }
    let program = path.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    let folder = program.lastIndex(of: "/").map { String(program[..<$0]) } ?? "."
    return [folder + "/../lib/" + file, file]
  }

  /// Global symbols: plugins of MPI look for those of the library that loads them.
  private static func load() -> (handle: UnsafeMutableRawPointer, path: String)? {
    for path in places {
      if path.contains("/"), FileKind.of(path) == .missing, path != places.last { continue }
      if let handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL) { return (handle, path) }
    }
    return nil
  }

  private static func message(_ table: meddino_communicator, _ status: Int32) -> String {
    guard let text = table.message?(status) else { return "status \(status)" }
    return String(cString: text)
  }
  private func check(_ status: Int32?, _ operation: String) throws(MedDINOError) {
    guard let status else { throw .state("\(name) has no \(operation)") }
    if status != 0 { throw .state("\(operation) over \(size) processes: \(Self.message(table, status))") }
  }

  // MARK: operations

  func sum(_ values: UnsafeMutableBufferPointer<Float>) throws(MedDINOError) {
    try check(table.sum_f32?(values.baseAddress, Int64(values.count)), "sum")
  }
  func sum(_ values: UnsafeMutableBufferPointer<Double>) throws(MedDINOError) {
    try check(table.sum_f64?(values.baseAddress, Int64(values.count)), "sum")
  }
  func gather(_ own: UnsafeRawBufferPointer, into all: UnsafeMutableRawBufferPointer) throws(MedDINOError) {
    precondition(all.count == size * own.count)
    try check(table.gather?(own.baseAddress, all.baseAddress, Int64(own.count)), "gather")
  }
  func broadcast(_ bytes: UnsafeMutableRawBufferPointer, from root: Int) throws(MedDINOError) {
    try check(table.broadcast?(bytes.baseAddress, Int64(bytes.count), Int32(root)), "broadcast")
  }
  func barrier() throws(MedDINOError) { try check(table.barrier?(), "barrier") }

  /// Nothing may be told any more. Throws: `.state`.
  func finish() throws(MedDINOError) { try check(table.finish?(), "finish") }

  /// Ends all processes.
  func abort(_ code: Int32) -> Never {
    table.abort?(code)
    _exit(code)
  }
}
