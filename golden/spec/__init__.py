"""What hardware, compiler, driver, golden model and docs share: config, registers, descriptor, model graph."""
