import Platform
import TestSupport

/// The folder of checkpoint goldens; nil on a clone alone, where tests that want it skip.
let checkpointGoldens: String? = {
  let roots =
    environment("MEDDINO_GOLDEN").map { [$0] } ?? [
      projectRoot + "/Tests/Golden", projectRoot + "/../shared/golden",
      projectRoot + "/../../shared/golden",
    ]
  return roots.map { $0 + "/model/ckpt" }.first { FileKind.of($0 + "/quirks.pth") == .regular }
}()
