"""MROSync against the FTP and SFTP servers that can be had; scripts/field runs it, docs/servers.md keeps its table."""
