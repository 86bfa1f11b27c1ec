import type { SourceKind } from './kind.ts'
import { dokuwikiKind } from './kinds/dokuwiki/kind.ts'
import { filesKind } from './kinds/files/kind.ts'
import { folderKind } from './kinds/folder/kind.ts'
import { redmineKind } from './kinds/redmine/kind.ts'
import { smbKind } from './kinds/smb/kind.ts'

/** Every kind of source that the service knows. A new one is added here. */
export const builtInKinds: readonly SourceKind[] = [dokuwikiKind, filesKind, folderKind, redmineKind, smbKind]
