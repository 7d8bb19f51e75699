-- +goose Up

-- A set may have a copy in each of several repositories, all written by one
-- execution and fence.
DROP INDEX copies_fence;
CREATE UNIQUE INDEX copies_fence ON copies (execution, fence, repository) WHERE execution IS NOT NULL;
