public import Platform
internal import Tensors

extension NIfTI {
  /// Writes `.nii` or `.nii.gz` (by the name's ending), whole or not at all. Equal volumes give equal files.
  ///
  /// The header is what SimpleITK writes: qform and sform with code 1, units mm and s, no description; slope and
  /// intercept of the volume. Sheared directions go into the sform exactly and into the qform as the closest rotation.
  /// NIfTI-2 when an extent exceeds 32767. bool is written as uint8, float16 and bfloat16 as float32.
  /// Throws: `.unsupported` for another ending, `.invalid` for an impossible geometry, `.io`, `.cancelled`.
  /// Source: pipeline specification 1.4 (last bullet).
  public static func write(_ volume: Volume, to path: String, control: RunControl? = nil) throws(MedDINOError) {
    let name = path.lowercased()
    let isGzip = name.hasSuffix(".nii.gz")
    guard isGzip || name.hasSuffix(".nii") else { throw .unsupported("\(path): the name must end in .nii or .nii.gz") }
    try VolumeCheck.geometry(volume.geometry)
    let file = try AtomicFile(path)
    let gzip = isGzip ? try GzipWriter(file) : nil
    func put(_ bytes: UnsafeRawBufferPointer) throws(MedDINOError) {
      if let gzip { try gzip.write(bytes) } else { try file.write(bytes) }
    }
    let header = try NIfTIHeaderWriter(volume).bytes
    var failure: MedDINOError?
    header.withUnsafeBytes { raw in do throws(MedDINOError) { try put(raw) } catch { failure = error } }
    if let failure { throw failure }
    try VoxelStream(volume).run(control, put)
    try gzip?.finish()
    try file.commit()
  }
}
