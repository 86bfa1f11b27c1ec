import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that take minutes. */
const slow = ['/test/kubernetes/', '/test/quality/', '/test/e2e/start.test.ts', '/test/cli/mcp/']

/**
 * Begun last, one of them would leave the other cores idle at the end of a run on a machine that has no
 * timings yet.
 */
export class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isSlow = ({ moduleId }: TestSpecification): boolean => slow.some((part) => moduleId.includes(part))
    return [...sorted.filter(isSlow), ...sorted.filter((file) => !isSlow(file))]
  }
}
