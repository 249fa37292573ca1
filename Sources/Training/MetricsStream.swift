internal import Glibc
public import Platform
internal import WeightFiles

/// The metrics of a run as a file of JSON lines that grows with it and that others may read at any time.
///
/// Every record is one write at the end of the file. A killed run leaves at most one torn line, which is dropped when the run is
/// resumed, with all lines after the step that it is resumed at.
public final class MetricsStream {
  public let path: String
  /// Of the last record that was kept when the run was resumed; nil for an empty file.
  public let resumedLastStep: Int?
  private let descriptor: Int32
  private var length: Int
  /// A longer line is none of ours.
  private static let lineLimit = 1 << 20

  /// `resumedStep`: lines up to this step are kept; nil starts an empty file, also where one exists.
  /// Throws: `.format` when the file holds something other than metrics (it is then left as it is), `.io`.
  public init(_ path: String, resumedStep: Int? = nil) throws(MedDINOError) {
    guard !path.isEmpty, !path.utf8.contains(0) else { throw .invalid("metrics path is empty or holds a NUL byte") }
    var kept: (length: Int, lastStep: Int?) = (0, nil)
    if let resumedStep, FileKind.of(path) != .missing {
      kept = try Self.kept(InputFile(path), through: resumedStep)
    }
    descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw .io("\(path): \(systemMessage(errno))") }
    self.path = path
    length = kept.length
    resumedLastStep = kept.lastStep
    // From here on every property is set: a throw runs deinit, which closes.
    guard ftruncate(descriptor, off_t(length)) == 0 else { throw .io("\(path): \(systemMessage(errno))") }
  }
  deinit { close(descriptor) }

  /// Throws: `.io`; the file then ends with the record before.
  public func write(_ record: MetricsRecord) throws(MedDINOError) {
    let line = Array((record.json.standardText() + "\n").utf8)
    guard line.count <= Self.lineLimit else {
      throw .invalid("a record of metrics has \(line.count) bytes, expected at most \(Self.lineLimit)")
    }
    var done = 0
    while done < line.count {
      let count = line[done...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let code = errno
        _ = ftruncate(descriptor, off_t(length))
        throw .io("\(path): \(systemMessage(code))")
      }
      done += count
    }
    length += line.count
  }

  /// Puts what was written on the disk; call it before a checkpoint that counts on it. Throws: `.io`.
  public func sync() throws(MedDINOError) {
    guard fsync(descriptor) == 0 else { throw .io("\(path): \(systemMessage(errno))") }
  }

  /// Length of the part whose records are not after `step`, and the step of its last one. Records are in the order of their steps, so the
  /// search goes from the end.
  private static func kept(_ file: InputFile, through step: Int) throws(MedDINOError) -> (length: Int, lastStep: Int?) {
    var end = try lineStart(file, before: file.size)
    if end == 0, file.size > 0, try file.bytes(at: 0, count: 1) != [UInt8(ascii: "{")] {
      throw .format("\(file.path): not a file of metrics, expected lines of JSON objects")
    }
    while end > 0 {
      let start = try lineStart(file, before: end - 1)
      let text = try file.bytes(at: start, count: end - 1 - start)
      let record: MetricsRecord
      do throws(MedDINOError) { record = try MetricsRecord(JSON.parse(text, source: file.path), source: file.path) } catch {
        throw .format(
          "\(file.path): the line from byte \(start) on is no record of metrics; remove the line, or the file to go on without what it holds"
        )
      }
      if record.step <= step { return (end, record.step) }
      end = start
    }
    return (0, nil)
  }

  /// The place after the last line feed in [0, end); 0 without one.
  private static func lineStart(_ file: InputFile, before end: Int) throws(MedDINOError) -> Int {
    let block = 4096
    var upper = end
    while upper > 0 {
      guard end - upper <= lineLimit else { throw .format("\(file.path): not a file of metrics: a line longer than \(lineLimit) bytes") }
      let lower = max(0, upper - block)
      let bytes = try file.bytes(at: lower, count: upper - lower)
      if let place = bytes.lastIndex(of: 10) { return lower + place + 1 }
      upper = lower
    }
    return 0
  }
}
