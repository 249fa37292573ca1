internal import Platform
internal import Tensors

/// The opened files of one NIfTI volume: header parsed, voxels about to be read.
struct NIfTISource {
  let header: NIfTIHeader
  private let path: String
  private let file: InputFile
  /// Set when the voxels are gzipped; stands right behind the header for single files.
  private let gzip: GzipReader?
  private let position: Int

  /// `path` may name either file of a pair. Throws: `.io`, `.format`, `.unsupported`.
  init(_ path: String, control: RunControl?) throws(MedDINOError) {
    let headerPath = Self.headerPath(path)
    if FileKind.of(headerPath) == .directory {
      throw .io("\(headerPath): a folder, expected one NIfTI file (a DICOM series must be converted first, for example by dcm2niix)")
    }
    let headerFile = try InputFile(headerPath)
    let isGzip = try GzipReader.isGzip(headerFile)
    let inflater = isGzip ? try GzipReader(headerFile, control: control) : nil
    var bytes = [UInt8](repeating: 0, count: NIfTIHeader.longestHeader)
    if let inflater {
      bytes.removeLast(bytes.count - (try Self.readHeader(inflater, &bytes)))
    } else {
      bytes = try headerFile.bytes(at: 0, count: bytes.count)
    }
    header = try NIfTIHeader(bytes, headerPath)
    guard header.isPair else {
      (self.path, file, gzip, position) = (headerPath, headerFile, inflater, isGzip ? bytes.count : 0)
      return
    }
    let imagePath = try Self.imagePath(of: headerPath)
    let imageFile = try InputFile(imagePath)
    let imageGzip = try GzipReader.isGzip(imageFile) ? try GzipReader(imageFile, control: control) : nil
    (self.path, file, gzip, position) = (imagePath, imageFile, imageGzip, 0)
  }

  private static func readHeader(_ inflater: GzipReader, _ bytes: inout [UInt8]) throws(MedDINOError) -> Int {
    var failure: MedDINOError?
    var count = 0
    // A NIfTI-1 file may end before 540 bytes, and its voxels may start at 348: read no further than that first.
    bytes.withUnsafeMutableBytes { raw in
      do throws(MedDINOError) {
        count = try inflater.read(into: UnsafeMutableRawBufferPointer(rebasing: raw[..<348]))
        let size = raw.loadUnaligned(as: Int32.self)
        if count == 348, size == 540 || size.byteSwapped == 540 {
          count += try inflater.read(into: UnsafeMutableRawBufferPointer(rebasing: raw[348...]))
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
    return count
  }

  /// Reads all voxels in their own type and this machine's byte order.
  /// Throws: `.format` when the file cannot hold what the header announces (before anything is allocated) or is
  /// damaged.
  func readVoxels(_ geometry: Geometry, in budget: MemoryBudget, control: RunControl?) throws(MedDINOError) -> Volume {
    let count = try header.byteCount(path)
    let end = try Checked.sum(header.dataOffset, count, "\(path): vox_offset")
    let available = gzip == nil ? file.size : GzipReader.largestOutput(of: file)
    guard end <= available else {
      throw .format(
        "\(path): the header announces \(count) bytes of voxels from offset \(header.dataOffset), the file has \(file.size) bytes"
          + (gzip == nil ? "" : " compressed"))
    }
    let volume = try Volume(allocating: header.dtype, channels: header.dims[3], geometry: geometry, in: budget, path)
    let bytes = UnsafeMutableRawBufferPointer(start: volume.mutableBase, count: count)
    if let gzip { try gzip.skip(header.dataOffset - position) }
    var done = 0
    while done < count {
      let part = min(count - done, 4 << 20)
      let chunk = UnsafeMutableRawBufferPointer(rebasing: bytes[done..<done + part])
      if let gzip { try gzip.readAll(into: chunk) } else { try file.read(at: header.dataOffset + done, into: chunk) }
      done += part
      try control?.update(Double(done) / Double(count))
    }
    try gzip?.finish()
    if header.isSwapped { swapBytes(bytes, ofSize: header.dtype.byteCount) }
    return volume
  }

  /// `name.img` and `name.img.gz` stand for the header beside them.
  private static func headerPath(_ path: String) -> String {
    guard let stem = stem(path, "img") else { return path }
    return [stem + ".hdr", stem + ".hdr.gz"].first { FileKind.of($0) == .regular } ?? path
  }

  private static func imagePath(of headerPath: String) throws(MedDINOError) -> String {
    guard let stem = stem(headerPath, "hdr") else {
      throw .format("\(headerPath): the magic says that voxels are in an .img file, but the name does not end in .hdr")
    }
    let candidates = [stem + ".img", stem + ".img.gz"]
    guard let found = candidates.first(where: { FileKind.of($0) == .regular }) else {
      throw .io("\(candidates[0]): the voxels of \(headerPath) are missing")
    }
    return found
  }

  private static func stem(_ path: String, _ ending: String) -> String? {
    for suffix in [".\(ending)", ".\(ending).gz"] where path.lowercased().hasSuffix(suffix) {
      return String(path.dropLast(suffix.count))
    }
    return nil
  }
}
